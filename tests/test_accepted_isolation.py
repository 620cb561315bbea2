"""Plugins whose manifest limits their isolations: others are rejected before any of their code runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import ECHO, CompilePlugin

import backworks
from backworks.config import load_config
from backworks.config.plugins import add_plugin_schemas, check_plugins
from backworks.errors import ConfigError, IsolationError
from backworks.loading.loader import DynamicPluginLoader

#: What an opened library does at once: it writes a file, beside which the test waits.
SOURCE = """
#include <stdio.h>
static void __attribute__((constructor)) opened(void) {
  FILE *file = fopen(MARK, "w");
  if (file != NULL) {
    fclose(file);
  }
}
""" + ECHO.replace('"description": ', '"isolation": ["process"], "description": ')

REFUSED = "the manifest does not allow isolation '{}'; use 'process'"


@pytest.fixture(scope="module", name="mark")
def _mark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mark") / "opened"


@pytest.fixture(name="library")
def _library(compile_plugin: CompilePlugin, mark: Path) -> Path:
    """A plugin for ``process`` alone, which has not been opened."""
    mark.unlink(missing_ok=True)
    return compile_plugin(SOURCE, "alone", flags=[f'-DMARK="{mark.as_posix()}"'])


@pytest.mark.parametrize("isolation", ["none", "thread"])
def test_load(library: Path, mark: Path, isolation: str) -> None:
    """An isolation that the manifest does not allow is rejected, and the library is not opened."""
    with pytest.raises(IsolationError) as caught:
        backworks.load(library, isolation=isolation)

    assert str(caught.value) == f"{library}: {REFUSED.format(isolation)}"
    assert caught.value.plugin == "echo"
    assert not mark.exists()


def test_loader(library: Path, mark: Path) -> None:
    """The loader, which opens libraries in this process, rejects it as well."""
    with pytest.raises(IsolationError, match="does not allow isolation"):
        DynamicPluginLoader().load(library)

    assert not mark.exists()


def test_accepted(library: Path, mark: Path) -> None:
    """In a process of its own it runs."""
    with backworks.load(library, isolation="process") as plugin:
        assert plugin.process_endpoint_data("/", "POST", "hello") == "hello"
    assert mark.exists()


def test_other_isolations(compile_plugin: CompilePlugin) -> None:
    """A plugin that accepts one way into the host's process is kept from the other."""
    library = compile_plugin(SOURCE.replace('["process"]', '["thread"]'), "threads", flags=['-DMARK="/"'])

    with backworks.load(library, isolation="thread") as plugin:
        assert plugin.process_endpoint_data("/", "POST", "hello") == "hello"
    for isolation in ("none", "process"):
        with pytest.raises(IsolationError, match="use 'thread'"):
            backworks.load(library, isolation=isolation)


def test_manager(library: Path, mark: Path) -> None:
    """A manager rejects it, even if its default isolation is the cause."""
    manager = backworks.PluginManager()
    with pytest.raises(IsolationError, match="isolation 'thread'"):
        manager.load(library, isolation="thread")

    assert dict(manager.plugins) == {}
    assert not mark.exists()


def test_configuration(library: Path, mark: Path, tmp_path: Path) -> None:
    """A configuration is told so at the line and column of the isolation, checked and started."""
    file = tmp_path / "c.yaml"
    file.write_text(f"plugins:\n  one:\n    path: {library}\n    isolation: none\n  two: {{path: {library}}}\n")
    line = f"{file}:4:16: plugins.one.isolation: {REFUSED.format('none')}"

    assert check_plugins(load_config(file)).settings == [line]
    with pytest.raises(ConfigError) as caught:
        backworks.PluginManager.from_config(file)
    assert caught.value.errors == (line,)
    assert not mark.exists()


def test_discovered(library: Path) -> None:
    """What discovery finds runs in a process of its own anyway."""
    with backworks.PluginManager.from_discovery(library.parent) as manager:
        assert manager.process_endpoint_data("echo", "/", "POST", "hello") == "hello"


@pytest.mark.skipif(sys.platform == "win32", reason="a path in a mapping of one line")
def test_editors(library: Path, tmp_path: Path) -> None:
    """The schema for editors knows what the plugin accepts."""
    file = tmp_path / "c.yaml"
    file.write_text(f"plugins: {{one: {{path: {library}}}}}\n")
    schema: dict[str, object] = {"properties": {"plugins": {"additionalProperties": {"$ref": "#"}}}}
    add_plugin_schemas(schema, load_config(file))

    one = schema["properties"]["plugins"]["properties"]["one"]  # type: ignore[index]
    assert one["properties"]["isolation"] == {"enum": ["process"]}
