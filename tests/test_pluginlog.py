"""What plugins log and the messages of their errors: single printable lines, and a limited number of them."""

from __future__ import annotations

import asyncio
import logging
import pickle
from pathlib import Path

import pytest
from conftest import PATIENCE, CompilePlugin

import backworks
from backworks.errors import ConfigError, PluginError, PluginInitError, PluginNotFound
from backworks.isolation.pluginlog import PluginLog
from backworks.printable import printable

#: Logs the data at WARNING; /error returns it as the message of an error; init does so with a configuration.
TALKS = r"""
#include <backworks_plugin.h>

struct backworks_plugin {
  const backworks_host *host;
};
BACKWORKS_PLUGIN("talks", "1.0.0", "description": "Logs what it was sent")
BACKWORKS_PLUGIN_FREE_STRING

int32_t backworks_plugin_init(const backworks_host *host, const char *config, size_t size, backworks_plugin **plugin,
                              backworks_response *response) {
  static backworks_plugin only;

  if (size > 2) {
    return backworks_fail(response, BACKWORKS_INVALID_ARGUMENT, "one\nERROR root: \x1b[2Jtwo");
  }
  (void)config;
  only.host = host;
  *plugin = &only;
  return BACKWORKS_OK;
}

int32_t backworks_plugin_process_endpoint_data(backworks_plugin *plugin, const backworks_request *request,
                                               backworks_response *response) {
  size_t i;

  if (request->endpoint_size > 1 && request->endpoint[1] == 'e') {
    (void)backworks_answer(response, request->data, request->data_size);
    return BACKWORKS_NOT_FOUND;
  }
  for (i = 0; i < (request->endpoint_size > 1 && request->endpoint[1] == 'f' ? 20000u : 1u); i++) {
    plugin->host->log(plugin->host->context, BACKWORKS_WARNING, request->data, request->data_size);
  }
  return BACKWORKS_OK;
}

int32_t backworks_plugin_shutdown(backworks_plugin *plugin) {
  (void)plugin;
  return BACKWORKS_OK;
}
"""

ISOLATIONS = ["none", "thread", "process"]


@pytest.fixture(name="library")
def _library(compile_plugin: CompilePlugin) -> Path:
    """The library of the plugin that talks."""
    return compile_plugin(TALKS, "talks")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "plain, with a\ttab and ümlauts, 漢字\u3000and 👩\u200d🔬",
            "plain, with a\ttab and ümlauts, 漢字\u3000and 👩\u200d🔬",
        ),
        ("one\ntwo\r\n\0", r"one\ntwo\r\n\x00"),
        ("\x1b[31mred\x9b0m\x7f", r"\x1b[31mred\x9b0m\x7f"),
        ("next\x85line\u2028and\u2029paragraph", r"next\x85line\u2028and\u2029paragraph"),
        ("\u202etxt.exe\u2066", r"\u202etxt.exe\u2066"),
        ("\ud800", r"\ud800"),
    ],
)
def test_printable(text: str, line: str) -> None:
    """Characters that end a line, steer a terminal or reorder text are escaped; all others stay."""
    assert printable(text) == line


def test_printable_is_bounded() -> None:
    """What is too long is cut, and the rest counted."""
    assert printable("x" * 20_000_000, 10) == "xxxxxxxxxx... (19,999,990 more characters)"


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_forged_record(library: Path, isolation: str, caplog: pytest.LogCaptureFixture) -> None:
    """A record with line feeds and escape sequences is one line of the log."""
    with backworks.load(library, isolation=isolation) as plugin:
        plugin.process_endpoint_data("/", data="hello\r\n2026-01-01 CRITICAL root: on fire\x1b[2J", timeout=PATIENCE)
        assert plugin.flush_log(PATIENCE)

    assert caplog.messages == [r"hello\r\n2026-01-01 CRITICAL root: on fire\x1b[2J"]


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_flood_of_records(library: Path, isolation: str, caplog: pytest.LogCaptureFixture) -> None:
    """A plugin that logs in a loop does not fill the log; a record says how many were dropped."""
    with backworks.load(library, isolation=isolation) as plugin:
        plugin.process_endpoint_data("/flood", data="x" * 65_536, timeout=PATIENCE)
        assert plugin.flush_log(PATIENCE)

    assert 1 <= len(caplog.messages) < 20_000 / 4
    assert max(map(len, caplog.messages)) < 10_000


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_error_message(library: Path, isolation: str) -> None:
    """The text of an error is one line of limited length; its message keeps the plugin's characters."""
    with backworks.load(library, isolation=isolation) as plugin, pytest.raises(PluginError) as caught:
        plugin.process_endpoint_data("/error", data="one\n\x1b[2Jtwo" + "x" * (30 << 20), timeout=PATIENCE)

    assert str(caught.value).startswith(r"talks: NOT_FOUND: one\n\x1b[2Jtwoxxx")
    assert len(str(caught.value)) < 10_000
    assert caught.value.message.startswith("one\n\x1b[2Jtwoxxx")
    assert len(caught.value.message) == 1 << 16


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_init_message(library: Path, isolation: str) -> None:
    """So is the text of an error of init."""
    with pytest.raises(PluginInitError) as caught:
        backworks.load(library, {"a": "b"}, isolation=isolation)

    assert str(caught.value).endswith(r"one\nERROR root: \x1b[2Jtwo")


def test_file_name(tmp_path: Path) -> None:
    """So is the text of an error about a file."""
    with pytest.raises(PluginNotFound) as caught:
        backworks.load(f"{tmp_path}/plug\nin\x1b[2J")

    assert str(caught.value).isprintable()
    assert caught.value.path.endswith("plug\nin\x1b[2J")


def test_config_errors() -> None:
    """An error in a configuration has one line for each problem, also after pickling."""
    error = pickle.loads(pickle.dumps(ConfigError(["one\ntwo", "three"])))

    assert (str(error), error.errors) == ("one\\ntwo\nthree", ("one\\ntwo", "three"))


def test_records_are_there_after_a_flush(library: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After a flush, the records of all calls before it have reached logging."""
    with backworks.load(library, isolation="process", workers=2) as plugin:
        for number in range(200):
            plugin.process_endpoint_data("/", data=f"{number}", timeout=PATIENCE)
            assert plugin.flush_log(PATIENCE)
            assert caplog.messages[-1] == f"{number}"

        async def call() -> None:
            await plugin.process_endpoint_data_async("/", data="last", timeout=PATIENCE)
            assert plugin.flush_log(PATIENCE)

        asyncio.run(call())
        assert caplog.messages[-1] == "last"


class TestPluginLog:
    """The limit of records."""

    def test_dropped(self, caplog: pytest.LogCaptureFixture) -> None:
        """At most 1,000 records pass in a second; the next second begins with the number of the others."""
        now = 100.0
        log = PluginLog(logging.getLogger("backworks.plugin.x"), lambda: now)
        for number in range(2500):
            log(30, f"{number}")
        assert (caplog.messages[0], caplog.messages[-1], len(caplog.messages)) == ("0", "999", 1000)
        now += 1.0
        log(30, "next")

        assert caplog.messages[1000].startswith("[1500 log records were dropped: at most 1000 records or ")
        assert caplog.messages[1001:] == ["next"]

    def test_size(self, caplog: pytest.LogCaptureFixture) -> None:
        """Long records count more."""
        log = PluginLog(logging.getLogger("backworks.plugin.x"), lambda: 100.0)
        for _ in range(1000):
            log(30, "x" * 60_000)

        assert len(caplog.messages) == 18

    def test_disabled(self) -> None:
        """A record that is not wanted does not count."""
        logger = logging.getLogger("backworks.plugin.disabled")
        logger.setLevel(logging.ERROR)
        log = PluginLog(logger, lambda: 100.0)
        for _ in range(2000):
            log(30, "x")

        assert log.dropped == 0
