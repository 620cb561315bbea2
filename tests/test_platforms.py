"""The wheels in README.md match what cibuildwheel builds, and the extension compiles for macOS."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

from conftest import missing
from cross import join
from sources import EXTENSION

from backworks import sdk
from backworks.loading.inspection import inspect_library

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
#: The machines of .github/workflows/wheels.yml -> the processors that "auto64" means on them.
MACHINES = {"linux": "x86_64,aarch64", "macos": "x86_64,arm64", "windows": "AMD64,ARM64"}


def test_identifiers() -> None:
    """The table of wheels and the line above it list the identifiers that cibuildwheel prints."""
    if importlib.util.find_spec("cibuildwheel") is None:
        missing("cibuildwheel")
    printed = []
    for platform, processors in MACHINES.items():
        command = [sys.executable, "-m", "cibuildwheel", "--print-build-identifiers", "--platform", platform]
        done = subprocess.run([*command, "--archs", processors, str(ROOT)], capture_output=True, text=True, check=True)
        printed += done.stdout.split()

    text = README.read_text(encoding="utf-8")
    pythons = re.findall(r"`(cp\d+t?)`", text)
    platforms = re.findall(r"`((?:manylinux|musllinux|macosx|win)_\w+)`", text)

    assert sorted(f"{python}-{platform}" for python in pythons for platform in platforms) == sorted(printed)


def test_machines() -> None:
    """The workflow has a runner for each system and processor in the table."""
    workflow = (ROOT / ".github" / "workflows" / "wheels.yml").read_text(encoding="utf-8")
    found = re.search(r"^ +os: \[(.*)\]$", workflow, re.MULTILINE)

    assert found is not None
    names = found[1].split(", ")
    assert len(names) == sum(len(processors.split(",")) for processors in MACHINES.values())
    assert {name.partition("-")[0] for name in names} == {"ubuntu", "macos", "windows"}


def test_binding_for_macos(tmp_path: Path) -> None:
    """The extension module compiles for both processors of macOS without a warning, and they form one fat file."""
    if importlib.util.find_spec("ziglang") is None:
        missing("the Python package ziglang")
    sources = [str(path) for path in EXTENSION]
    # The headers of this Python: with the limited API, those for macOS are equivalent.
    options = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", "-DPy_LIMITED_API=0x030B0000"]
    options += [f"-I{sdk.path('c')}", "-isystem", sysconfig.get_path("include"), "-shared"]
    slices = []
    for target in ("x86_64-macos.11.0", "aarch64-macos.11.0"):
        out = tmp_path / f"{target}.so"
        command = [sys.executable, "-m", "ziglang", "cc", "-target", target, *options, "-Wl,-undefined,dynamic_lookup"]
        done = subprocess.run(
            [*command, *sources, "-o", str(out)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        slices.append(out.read_bytes())
    fat = tmp_path / "_native.abi3.so"
    fat.write_bytes(join(slices))

    info = inspect_library(fat)

    assert (info.format, info.system, set(info.architectures)) == ("mach-o", "macos", {"x86_64", "aarch64"})
    assert "PyInit__native" in info.exports
