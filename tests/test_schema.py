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

    assert [(each.where, each.message) for each in found] == [
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


def _doubled(keyword: str) -> dict[str, object]:
    """Returns a schema with two references to a schema with two references, and so on, 40 times."""
    steps = {f"n{i}": {keyword: [{"$ref": f"#/$defs/n{i + 1}"}] * 2} for i in range(40)}
    last = {} if keyword == "allOf" else {"not": {}, "description": "y" * 200_000}
    return {"$ref": "#/$defs/n0", "$defs": {**steps, "n40": last}}


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (_doubled("allOf"), "takes more than"),
        (_doubled("anyOf"), "causes more than 50,000 errors"),
        (_doubled("allOf") | {"unevaluatedProperties": False}, "takes more than"),
        ({"allOf": [{}] * 80_000}, "takes more than"),
        ({"properties": {"a": {"pattern": "a{99999999999}"}}}, "has a pattern that is not supported, 'a{99999999999}'"),
        ({"properties": {"a": {"pattern": "((a{99}){99}){999}"}}}, "Compiled regex exceeds size limit"),
        ({"properties": {"a": {"pattern": r"(?=a)\w"}}}, "look-around, including look-ahead and look-behind, is not"),
        ({"properties": {"a": {"pattern": "("}}}, "unclosed group"),
        ({"patternProperties": {"(": {}}}, "unclosed group"),
        ({"properties": {"big": {"multipleOf": 0.5}}}, "cannot be evaluated: OverflowError"),
        ({"$ref": "/allOf/abc", "allOf": [{}]}, "has a reference that cannot be resolved"),
        ({"$ref": "#/allOf/abc", "allOf": [{}]}, "cannot be evaluated: ValueError"),
        ({"$ref": "/title", "title": "x"}, "has a reference that cannot be resolved"),
        ({"$ref": "#/title", "title": "x"}, "cannot be evaluated: AttributeError"),
        ({"$id": "http://[", "$ref": "#/a"}, "has a reference that cannot be resolved"),
        ({"patternProperties": {"a": {}}, "unevaluatedProperties": False}, "has both unevaluatedProperties and"),
    ],
)
def test_hostile_schema(schema: object, text: str) -> None:
    """A schema whose evaluation would take for ever, or that the library cannot handle, is one short violation."""
    (found,) = violations({"a": "a", "big": 10**400}, schema)

    assert found.message.startswith("config_schema in the plugin's manifest ")
    assert text in found.message
    assert len(found.message) < 800
    assert "\n" not in found.message


@pytest.mark.parametrize(
    "draft", [None, "https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-07/schema#"]
)
@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"pattern": "^(a+)+$"}}},
        {"patternProperties": {"^a$": {"pattern": "^(a+)+$"}}},
        {"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"pattern": "^(a+)+$"}}},
        {"patternProperties": {"^(b+)+$": True}, "additionalProperties": {"type": "integer"}},
        {"propertyNames": {"pattern": "^(b+)+$"}},
    ],
)
def test_hostile_pattern(schema: dict[str, object], draft: str | None) -> None:
    """A regular expression that backtracks exponentially in Python runs in linear time, in every position."""
    if draft is not None:
        schema = json.loads(json.dumps(schema).replace('{"pattern"', f'{{"$schema": "{draft}", "pattern"'))
        schema = {"$schema": draft, **schema}
    found = violations({"a": "a" * 50 + "!", "b" * 50 + "!": "x"}, schema)

    assert found
    assert "config_schema" not in found[0].message


def test_pattern_too_large_for_a_text() -> None:
    """Linear time is long for a large pattern and a large text, so their product is limited."""
    schema = {"properties": {"a": {"pattern": "(a|b){0,5000}a(a|b){4000}c"}}}
    (found,) = violations({"a": "ab" * 200_000}, schema)

    assert "has a pattern that takes too long for 400,000 characters" in found.message
    (found,) = violations({"a": "ab"}, schema)
    assert found.message == "'ab' does not match '(a|b){0,5000}a(a|b){4000}c'"


def test_many_violations() -> None:
    """A schema cannot flood the report: the number of violations and the length of each are limited."""
    found = violations({"a": "x" * 10_000}, {"required": [f"p{i}" for i in range(10_000)], "maxProperties": 0})

    assert len(found) == 100
    assert max(len(each.message) for each in found) <= 300


@pytest.mark.parametrize(
    ("items", "unique"),
    [
        ([1, True, [1], [True], {"a": 1}, None, "1"], True),
        ([{"a": [1]}, {"a": [1.0]}], False),
        ([0, False, 0.0], False),
    ],
)
def test_unique_items(items: list[object], unique: bool) -> None:
    """Items are compared as JSON values: 1 equals 1.0, but not true."""
    found = violations({"a": items}, {"properties": {"a": {"uniqueItems": True}}})

    assert bool(found) is not unique


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
