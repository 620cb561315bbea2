"""The site builds strictly and offline, and has all the content of its sources."""

from __future__ import annotations

import re
import sys
from html import unescape
from pathlib import Path
from typing import Any

import click
import pytest

import backworks
from backworks import cli
from backworks.config import config_schema

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tools" / "site"))  # not part of the package

import header  # noqa: E402
import schema  # noqa: E402
from assemble import ELSEWHERE, MADE, assemble  # noqa: E402
from building import make_pages  # noqa: E402

HEADER = (ROOT / "sdk" / "c" / "backworks_plugin.h").read_text(encoding="utf-8")


@pytest.fixture(scope="module", name="site")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds the pages, once."""
    build = tmp_path_factory.mktemp("site")
    assemble(ROOT, build / "source")
    assert make_pages(build) == 0
    return build / "html"


def read(page: Path) -> str:
    """Returns the text of a page without its tags."""
    return unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


def words(text: str) -> list[str]:
    """Returns the words of a text, ignoring everything between them."""
    return re.findall(r"\w+", text)


class TestBuild:
    """The build as a whole."""

    def test_every_page_is_there(self, site: Path) -> None:
        """Every page of docs/, from elsewhere or generated is in the site."""
        pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
        wanted = {page.removesuffix(".md") + ".html" for page in pages | set(ELSEWHERE.values()) | set(MADE)}

        assert wanted - {path.relative_to(site).as_posix() for path in site.rglob("*.html")} == set()

    def test_nothing_is_fetched(self, site: Path) -> None:
        """The browser loads nothing from other sites."""
        fetched = [
            found
            for page in site.rglob("*.html")
            for found in re.findall(
                r"<(?:script|img|link|iframe)\b[^>]*https?://[^>]*>", page.read_text(encoding="utf-8")
            )
        ]
        imported = [
            found
            for style in site.rglob("*.css")
            for found in re.findall(r"(?:@import|url\()\s*['\"]?https?://[^;)]*", style.read_text(encoding="utf-8"))
        ]

        assert fetched == imported == []

    @pytest.mark.parametrize(
        ("mistake", "told"),
        [
            ("[a page](gone.md)", "gone.md"),
            ("[a place](#nowhere)", "nowhere"),
            ("```{eval-rst}\n:func:`backworks.laod`\n```", "backworks.laod"),
        ],
    )
    def test_a_broken_link_fails_it(
        self, mistake: str, told: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """A link to a missing page, anchor or function fails the build, and is reported."""
        source = tmp_path / "source"
        source.mkdir()
        (source / "conf.py").write_bytes((ROOT / "docs" / "conf.py").read_bytes())
        (source / "static").mkdir()
        (source / "static" / "site.css").touch()
        (source / "index.md").write_text(f"# A page\n\n{mistake}\n", encoding="utf-8")

        assert make_pages(tmp_path) != 0
        assert told in capfd.readouterr().err


class TestHeader:
    """The reference of the C header."""

    def test_every_declaration(self) -> None:
        """Every function, structure, enumeration and constant of the header is on the page."""
        declared = {item.name for item in header.items(HEADER)}
        functions = set(re.findall(r"^BACKWORKS_EXPORT .*?(backworks_plugin_\w+)\(", HEADER, re.MULTILINE))
        types = set(re.findall(r"^typedef (?:struct|enum) (\w+)", HEADER.partition("/* 4. ")[0], re.MULTILINE))

        assert len(functions) == 10
        assert declared == functions | types | {"BACKWORKS_ABI_VERSION"}

    def test_every_helper(self) -> None:
        """Every documented helper is on the page, with its signature."""
        _, _, text = HEADER.partition("/* 5. ")
        functions = set(re.findall(r"^static inline .*?(backworks_\w+)\(", text, re.MULTILINE))
        found = {item.name: item.code for item in header.helpers(HEADER)}

        assert functions <= set(found)
        assert {"BACKWORKS_PLUGIN", "BACKWORKS_PLUGIN_FREE_STRING"} <= set(found)
        assert found["backworks_equal"] == (
            "static inline int backworks_equal(const char *text, size_t size, const char *literal);"
        )
        assert found["BACKWORKS_PLUGIN_IDENTITY"].splitlines() == [
            "#define BACKWORKS_PLUGIN_IDENTITY(name, version)",
            "#define BACKWORKS_PLUGIN_MANIFEST(json)",
        ]

    def test_no_word_is_lost(self, site: Path) -> None:
        """All words of the comments and declarations are on the page, in order."""
        page = words(read(site / "reference" / "header.html"))
        for item in header.items(HEADER):
            at = page.index(item.name, page.index("Declarations"))
            for text in (item.code, item.comment):
                said = words(text)

                assert any(page[start : start + len(said)] == said for start in range(at, len(page))), item.name

    def test_a_declaration_without_a_comment_is_refused(self) -> None:
        """A declaration without a comment fails the build."""
        bare = HEADER.replace("/* [backworks:declarations:end] */", "int backworks_bare(void);\n\n\\g<0>")
        bare = bare.replace("\\g<0>", "/* [backworks:declarations:end] */")

        with pytest.raises(ValueError, match="a declaration without a comment: int backworks_bare"):
            header.page(bare)


def test_every_key_of_the_configuration(site: Path) -> None:
    """Every key of the schema, at any depth, is on the page with its description."""
    found = config_schema()
    page = " ".join(words(read(site / "reference" / "configuration.html")))

    def keys(value: Any) -> set[tuple[str, str]]:
        if isinstance(value, list):
            return set().union(*map(keys, value))
        if not isinstance(value, dict):
            return set()
        own = {(key, each.get("description", "")) for key, each in value.get("properties", {}).items()}
        return own.union(*map(keys, value.values()))

    known = keys(found)

    assert ("timeout", found["$defs"]["PluginConfig"]["properties"]["timeout"]["description"]) in known
    for key, description in known:
        assert f" {key} " in page
        assert " ".join(words(description)) in page


def test_a_level_without_keys_is_refused() -> None:
    """A part of the schema that is not an object with keys fails the build."""
    with pytest.raises(ValueError, match="server has no keys"):
        schema.page({"properties": {"server": {"type": "integer"}}, "$defs": {}})


def test_every_public_name(site: Path) -> None:
    """Every public name of the package, and every method of a class, is documented."""
    page = (site / "reference" / "python.html").read_text(encoding="utf-8")

    for name in set(backworks.__all__) - {"__version__"}:
        assert f'id="backworks.{name}"' in page
    assert 'id="backworks.Plugin.process_endpoint_data"' in page


def test_every_command(site: Path) -> None:
    """Every command and all its options are on the page."""
    page = read(site / "reference" / "cli.html")

    def check(command: click.Command) -> None:
        for parameter in command.params:
            for name in parameter.opts if isinstance(parameter, click.Option) else ():
                assert name in page
        for name, each in getattr(command, "commands", {}).items():
            assert re.search(rf"backworks .*\b{name}\b", page)
            check(each)

    check(cli.main)
