"""A plugin's configuration and the JSON Schema of its manifest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from conftest import ECHO, CompilePlugin

from backworks import PluginManager
from backworks.loading.schema import absolute_paths, violations

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = {
    "type": "object",
    "properties": {
        "reports": {"type": "string", "format": "path"},
        "name": {"type": "string"},
        "store": {"type": "object", "properties": {"file": {"type": "string", "format": "path"}}},
    },
    "additionalProperties": False,
}


def test_violations() -> None:
    """Everything that is wrong is listed with its place."""
    found = violations({"name": 1, "x": 2, "store": {"file": []}}, SCHEMA)

    assert [(where, message) for where, message in found] == [
        ((), "Additional properties are not allowed ('x' was unexpected)"),
        (("name",), "1 is not of type 'string'"),
        (("store", "file"), "[] is not of type 'string'"),
    ]


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "wrong"}, "is not a valid JSON Schema"),
        ({"$ref": "https://127.0.0.1/x.json"}, "has a reference that cannot be resolved"),
        ({"$ref": "#/$defs/absent"}, "has a reference that cannot be resolved"),
        ({"$ref": "#"}, "refers to itself in a loop"),
    ],
)
def test_broken_schema(schema: object, text: str) -> None:
    """An invalid schema, or one that refers to another document, is the only violation; nothing is downloaded."""
    (found,) = violations({"a": 1}, schema)

    assert text in found.message


def test_absolute_paths(tmp_path: Path) -> None:
    """Texts that the schema calls paths become absolute; all else stays as it is."""
    config = {"reports": "r.txt", "name": "r.txt", "store": {"file": "/x"}, "more": ["r.txt"]}

    assert absolute_paths(config, SCHEMA, tmp_path) == {
        "reports": str(tmp_path / "r.txt"),
        "name": "r.txt",
        "store": {"file": str(tmp_path / "/x")},
        "more": ["r.txt"],
    }
    assert config["reports"] == "r.txt"


def test_path_in_a_file(compile_plugin: CompilePlugin, tmp_path: Path) -> None:
    """A path in a plugin's configuration starts at the directory of the file that it stands in."""
    source = ECHO.replace(
        '"description"', '"config_schema": {"properties": {"file": {"format": "path"}}}, "description"'
    ).replace(
        "  (void)config;\n",
        '  backworks_log(host, BACKWORKS_INFO, "%.*s", (int)config_size, config);\n'
        '  if (config_size != 0) { return backworks_fail(error, 3, "%.*s", (int)config_size, config); }\n',
    )
    file = tmp_path / "backworks.yaml"
    library = compile_plugin(source, "path")
    file.write_text(f"plugins: {{echo: {{path: {str(library)!r}, critical: false, config: {{file: ./a.txt}}}}}}\n")

    with PluginManager.from_config(file) as manager:
        assert json.dumps(str(tmp_path / "a.txt")) in str(manager.failed["echo"])
