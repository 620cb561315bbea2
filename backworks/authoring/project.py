"""Creates a project from the templates beside this module and the SDK of its language."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from backworks import __version__, sdk
from backworks.authoring.names import check_name, file_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["LANGUAGES", "SOURCES", "create_project"]

_TEMPLATES = Path(__file__).resolve().parent / "templates"

#: The languages, each with the SDKs that are copied into its projects.
LANGUAGES: Mapping[str, tuple[sdk.Kit, ...]] = {
    "c": ("c",),
    "cpp": ("c", "cpp"),
    "rust": ("rust",),
    "go": ("c", "go"),
    "zig": ("zig",),
}

#: The main source file of a project.
SOURCES = {"c": "plugin.c", "cpp": "plugin.cpp", "rust": "src/lib.rs", "go": "plugin.go", "zig": "plugin.zig"}

#: The parts of an SDK that only its developers need.
_NOT_COPIED = shutil.ignore_patterns("target", "tests", "Cargo.lock", "rustfmt.toml", "__pycache__")

#: A placeholder in a template.
_PLACEHOLDER = re.compile(r"@\{(\w+)\}")


def create_project(name: str, language: str, parent: Path) -> Path:
    """Creates the directory of a project, either completely or not at all.

    Args:
        name: The name of the plugin and of the directory.
        language: One of :data:`LANGUAGES`.
        parent: The directory to create it in.

    Returns:
        The new directory.

    Raises:
        ValueError: The name is invalid.
        FileExistsError: The name is taken by something other than an empty directory.
        OSError: The directory cannot be written.
    """
    check_name(name)
    directory = parent / name
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise FileExistsError(f"{directory} already exists: choose another name, or run this in another directory")
    # In the same directory, so that it can be renamed, and hidden, so that nothing mistakes it for a project.
    temporary = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=parent))
    try:
        made = temporary / name
        _write(made, name, language)
        if directory.exists():
            directory.rmdir()  # empty; Windows cannot rename onto a directory
        made.rename(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return directory


def _write(directory: Path, name: str, language: str) -> None:
    file = file_name(name)
    values = {
        "name": name,
        "file": file,
        "source": SOURCES[language],
        "version": __version__,
        **_texts(language, file),
    }
    for template in ("common", language):
        for source, target in _files(_TEMPLATES / template):
            path = directory / target
            path.parent.mkdir(parents=True, exist_ok=True)
            text = source.read_text(encoding="utf-8")
            path.write_text(_PLACEHOLDER.sub(lambda match: values[match[1]], text), encoding="utf-8", newline="\n")
    for kit in LANGUAGES[language]:
        shutil.copytree(sdk.path(kit), directory / "sdk", dirs_exist_ok=True, ignore=_NOT_COPIED)


def _files(template: Path) -> Iterator[tuple[Path, Path]]:
    """Yields the files of a template and their target paths: ``dot_gitignore.in`` becomes ``.gitignore``."""
    for source in sorted(template.rglob("*.in")):
        parts = source.relative_to(template).with_suffix("").parts
        yield source, Path(*(re.sub("^dot_", ".", part) for part in parts))


def _texts(language: str, file: str) -> dict[str, str]:
    """Returns the values of the placeholders that depend on the language."""
    by_hand = {
        "c": "make",
        "cpp": "cmake -S . -B build/cmake -DCMAKE_BUILD_TYPE=Release && cmake --build build/cmake --config Release",
        "rust": "cargo build --release",
        "go": f"go build -buildmode=c-shared -o build/go/lib{file}.so .",
        "zig": "zig build --release",
    }
    kit = {
        "c": "the C header `backworks_plugin.h`, the contract between a plugin and its host",
        "cpp": "the C++ SDK `backworks_plugin.hpp`, and the C header that it uses",
        "rust": "the crate `backworks-plugin-sdk`",
        "go": "the Go package `backworks`, and the C header that it uses",
        "zig": "the Zig module `backworks`",
    }
    needs = {
        "c": "a C compiler and GNU make",
        "cpp": "a C++17 compiler and CMake 3.16 or newer (`pip install cmake`)",
        "rust": "Rust 1.78 or newer, with cargo",
        "go": "Go 1.21 or newer, and a C compiler for cgo",
        "zig": "Zig 0.14 or newer (`pip install ziglang`)",
    }
    ignored = {
        "c": "/build/",
        "cpp": "/build/",
        "rust": "/build/\n/target/",
        "go": "/build/",
        "zig": "/build/\n/.zig-cache/\n/zig-out/",
    }
    tools = {"zig": " ziglang"}
    return {
        "by_hand": by_hand[language],
        "kit": kit[language],
        "needs": needs[language],
        "ignored": ignored[language],
        "tools": tools.get(language, ""),
    }
