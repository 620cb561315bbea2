"""Assembles the sources of the site: the pages of docs/, pages from elsewhere, and generated pages."""

from __future__ import annotations

import posixpath
import re
import shutil
from pathlib import Path

import header
import python_api
import schema

from backworks.config import config_schema

__all__ = ["ELSEWHERE", "MADE", "assemble"]

_ROOT = Path(__file__).resolve().parent.parent.parent

#: Pages outside docs/ -> their place in the site.
ELSEWHERE = {
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks/index.md",
    "benchmarks/results/results.md": "benchmarks/results.md",
    "examples/weather_plugin_c/README.md": "examples/weather_plugin_c.md",
    "examples/weather_plugin_rust/README.md": "examples/weather_plugin_rust.md",
    "native/wire/PROTOCOL.md": "reference/protocol.md",
}
ELSEWHERE |= {
    path.relative_to(_ROOT).as_posix(): f"kits/{path.parent.name}.md" for path in sorted(_ROOT.glob("sdk/*/README.md"))
}

#: Pages that are generated from other files in the checkout.
MADE = ("reference/header.md", "reference/configuration.md", "reference/python.md")

#: Link targets outside docs/ that have a page in the site.
_INSTEAD = {
    "sdk/c/backworks_plugin.h": "reference/header.md",
    "examples/weather_plugin_c": "examples/weather_plugin_c.md",
    "examples/weather_plugin_rust": "examples/weather_plugin_rust.md",
    **ELSEWHERE,
}

#: The parts of the checkout without a page: a link to one becomes plain text.
_PATHS = re.compile(r"benchmarks/peers(?:/.*)?|benchmarks/.*\.(?:py|txt)|examples/backworks\.yaml")

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def assemble(root: Path, target: Path) -> None:
    """Creates the sources.

    Args:
        root: The checkout.
        target: The directory for them; it is recreated.
    """
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(root / "docs", target)
    pages = {path.relative_to(root).as_posix(): path.relative_to(root / "docs").as_posix() for path in _pages(root)}
    pages |= ELSEWHERE
    for source, page in pages.items():
        text = _with_links((root / source).read_text(encoding="utf-8"), root, source, page, target)
        (target / page).parent.mkdir(parents=True, exist_ok=True)
        (target / page).write_text(text, encoding="utf-8")
    text = (root / "sdk" / "c" / "backworks_plugin.h").read_text(encoding="utf-8")
    for page, made in zip(MADE, (header.page(text), schema.page(config_schema()), python_api.page()), strict=True):
        (target / page).write_text(made, encoding="utf-8")


def _pages(root: Path) -> list[Path]:
    return sorted((root / "docs").rglob("*.md"))


def _with_links(text: str, root: Path, source: str, page: str, target: Path) -> str:
    """Returns the text of a page, with its links adjusted to the layout of the site."""

    def moved(match: re.Match[str]) -> str:
        picture, words, link, fragment = match[1], match[2], match[3], match[4] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
        if picture:
            shutil.copy(root / path, target / Path(path).name)
            return f"![{words}]({_relative(Path(path).name, page)})"
        if path in _INSTEAD or path.startswith("docs/"):
            where = _INSTEAD.get(path, path.removeprefix("docs/"))
            return f"[{words}]({_relative(where, page)}{fragment})"
        return words if _PATHS.fullmatch(path) else match[0]

    # Fenced blocks contain no links.
    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else _LINK.sub(moved, part) for part in parts)


def _relative(where: str, page: str) -> str:
    return posixpath.relpath(where, posixpath.dirname(page) or ".")
