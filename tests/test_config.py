"""The configuration: what it accepts, and the sentence and place of everything that it does not."""

from __future__ import annotations

import json
import math
import os
import textwrap
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from conftest import ECHO, CompilePlugin
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backworks.config import (
    RESERVED_PATHS,
    Config,
    config_schema,
    load_config,
    nodes,
    parse_config,
    warnings_of,
)
from backworks.config.dump import config_yaml
from backworks.config.plugins import check_plugins
from backworks.errors import ConfigError
from backworks.settings import Settings

FULL = """\
server: {host: 0.0.0.0, port: 9000, max_body: 64KiB, shutdown_timeout: 500ms}

plugin_discovery:
  enabled: true
  directories: ["./plugins", "/opt/plugins"]
  recursive: false

plugins:
  weather:
    enabled: true
    plugin_type: external        # or builtin
    path: ./plugins/weather
    isolation: thread
    workers: 2
    timeout: 2s
    critical: false
    config: {reports: ./reports.txt, api_key: "${WEATHER_API_KEY}"}
  greeter:
    plugin_type: builtin
    path: my.module:Greeter

endpoints:
  "/api/weather/{station}":
    method: get
    runtime: {type: plugin, handler: weather}
  "/api/weather":
    methods: [GET, post]
    runtime: {handler: weather}
    data: body
    timeout: 1m
    description: Everything.
"""

WriteConfig = Callable[..., Path]


@pytest.fixture(name="write")
def _write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteConfig:
    """Writes c.yaml into the current directory and returns its name."""
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes) -> Path:
        data = textwrap.dedent(text).encode() if isinstance(text, str) else text
        Path("c.yaml").write_bytes(data)
        return Path("c.yaml")

    return write


def errors_of(path: str | Path) -> list[str]:
    """Loads a file that is wrong."""
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value) == "\n".join(caught.value.errors)
    return list(caught.value.errors)


def dict_errors(data: dict[str, Any]) -> list[str]:
    """Parses a dict that is wrong."""
    with pytest.raises(ConfigError) as caught:
        parse_config(data)
    return list(caught.value.errors)


class TestAccepted:
    """What a configuration may say, and what becomes of it."""

    def test_everything(self, write: WriteConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Every field of the documented example arrives in the models."""
        monkeypatch.setenv("WEATHER_API_KEY", "12345")
        config = load_config(write(FULL))
        weather, all_weather = config.plugins["weather"], config.endpoints["/api/weather"]

        assert (config.server.host, config.server.port) == ("0.0.0.0", 9000)
        assert (config.server.max_body, config.server.shutdown_timeout) == (65536, 0.5)
        assert config.plugin_discovery.directories == (tmp_path / "plugins", tmp_path / "/opt/plugins")
        assert (weather.path, weather.isolation, weather.workers) == (tmp_path / "plugins/weather", "thread", 2)
        assert (weather.timeout, weather.critical) == (2.0, False)
        assert weather.config == {"reports": "./reports.txt", "api_key": "12345"}
        assert config.plugins["greeter"].path == "my.module:Greeter"
        assert config.endpoints["/api/weather/{station}"].methods == ("GET",)
        assert config.endpoints["/api/weather/{station}"].runtime.handler == "weather"
        assert (all_weather.methods, all_weather.data) == (("GET", "POST"), "body")
        assert (all_weather.timeout, all_weather.description) == (60.0, "Everything.")

    def test_defaults(self) -> None:
        """What nobody configures has the documented values."""
        config = parse_config(
            {"plugins": {"a": {"path": "a"}, "b": {"path": "b", "isolation": "none"}, "c": {"plugin_type": "builtin"}}}
        )
        server, plugin = config.server, config.plugins["a"]

        assert (server.host, server.port) == ("127.0.0.1", 8080)
        assert (server.max_body, server.shutdown_timeout) == (1048576, 1.0)
        assert config.plugin_discovery.directories == ()
        assert config.endpoints == {}
        assert (plugin.enabled, plugin.plugin_type, plugin.critical) == (True, "external", True)
        assert (plugin.isolation, plugin.workers, plugin.timeout) == ("process", 1, 30.0)
        assert (plugin.queue, plugin.health_check, plugin.start_timeout) == (64, 10.0, 10.0)
        assert plugin.environment == ()
        assert asdict(plugin.restart) == {"initial": 0.1, "maximum": 30.0, "give_up_after": 5}
        assert plugin.breaker is not None
        assert asdict(plugin.breaker) == {"failures": 5, "window": 30.0, "open": 10.0, "probes": 1}
        assert plugin.settings == Settings()
        assert plugin.config == {}
        assert (config.plugins["b"].timeout, config.plugins["b"].breaker) == (None, None)
        assert (config.plugins["b"].workers, config.plugins["c"].isolation) == (4, "thread")

    def test_supervision(self) -> None:
        """What a plugin may use, and what is done when it fails, arrives in the models."""
        config = parse_config(
            {
                "plugins": {
                    "a": {
                        "path": "a",
                        "queue": "0",
                        "restart": {"initial": "200ms", "maximum": "1m", "give_up_after": 3},
                        "breaker": {"failures": 2, "window": "1m", "open": "5s", "probes": 3},
                        "start_timeout": "1s",
                        "health_check": None,
                        "limits": {
                            "memory": "2GiB",
                            "cpu_time": "5m",
                            "open_files": 64,
                            "processes": 16,
                            "output": "1MiB",
                        },
                        "environment": ["LANG", "ProgramFiles(x86)"],
                    }
                },
                "endpoints": {"/a": {"runtime": {"handler": "a"}, "retry": 2}},
            }
        )
        plugin = config.plugins["a"]

        assert (plugin.queue, plugin.start_timeout, plugin.health_check) == (0, 1.0, None)
        assert asdict(plugin.restart) == {"initial": 0.2, "maximum": 60.0, "give_up_after": 3}
        assert plugin.breaker is not None
        assert asdict(plugin.breaker) == {"failures": 2, "window": 60.0, "open": 5.0, "probes": 3}
        assert asdict(plugin.limits) == {
            "memory": 2 << 30,
            "cpu_time": 300,
            "open_files": 64,
            "processes": 16,
            "output": 1 << 20,
        }
        assert plugin.environment == ("LANG", "ProgramFiles(x86)")
        assert config.endpoints["/a"].retry == 2

    @pytest.mark.parametrize(
        ("isolation", "written", "is_on"),
        [
            ("process", {}, True),
            ("thread", {}, True),
            ("none", {}, False),
            ("none", {"breaker": True}, True),
            ("none", {"breaker": {"failures": 1}}, True),
            ("none", {"breaker": None}, True),
            ("process", {"breaker": False}, False),
            ("process", {"breaker": None}, True),
        ],
    )
    def test_breaker(self, isolation: str, written: dict[str, Any], is_on: bool) -> None:
        """A breaker is there by default but for isolation none, and can be had or left out everywhere."""
        plugin = parse_config({"plugins": {"a": {"path": "a", "isolation": isolation, **written}}}).plugins["a"]

        assert (plugin.breaker is not None) is is_on

    def test_models_are_frozen_and_comparable(self) -> None:
        """A configuration cannot be changed, and two of the same dict are equal."""
        config = parse_config({"server": {"port": 1}})

        assert config == parse_config({"server": {"port": 1}})
        with pytest.raises(ValueError, match="frozen"):
            config.server.port = 2

    def test_a_dict_means_what_a_file_means(self, write: WriteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
        """The same document as a file and as a dict gives the same models."""
        monkeypatch.setenv("WEATHER_API_KEY", "12345")
        from_file = load_config(write(FULL))
        from_dict = parse_config(yaml.safe_load(FULL))

        assert from_dict.model_dump() == from_file.model_dump()

    def test_a_dict_may_hold_paths_and_tuples(self) -> None:
        """A program may say Path and tuple where a file says text and list."""
        config = parse_config(
            {"plugins": {"a": {"path": Path("x"), "config": {"at": Path("y"), "of": (1, 2)}}}}, base="/base"
        )

        assert config.plugins["a"].path == Path("/base").absolute() / "x"
        assert config.plugins["a"].config == {"at": "y", "of": [1, 2]}

    def test_relative_paths_start_at_the_file(self, write: WriteConfig, tmp_path: Path) -> None:
        """Wherever the host runs; in a plugin's own configuration only its manifest can tell what is a path."""
        write("""\
            plugin_discovery: {directories: [plugins, ../p]}
            plugins: {a: {path: x/../a, config: {x: ./r.txt}}}
            """)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        os.chdir(elsewhere)
        config = load_config("../c.yaml")

        assert config.plugin_discovery.directories == (tmp_path / "plugins", tmp_path.parent / "p")
        assert config.plugins["a"].path == tmp_path / "a"
        assert config.plugins["a"].config == {"x": "./r.txt"}
        assert config.source.base == tmp_path

    def test_sections_may_be_empty(self, write: WriteConfig) -> None:
        """A section whose lines are commented out counts as absent."""
        config = load_config(write("server:\nplugin_discovery:\nplugins:\nendpoints:\n"))

        assert config.model_dump() == Config().model_dump()

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("yes", "yes"),
            ("NO", "NO"),
            ("true", True),
            ("~", None),
            ("", None),
            ("017", 17),
            ("0o17", 15),
            ("0x1F", 31),
            ("12:30", "12:30"),
            ("2018-01-09", "2018-01-09"),
            ("1e3", 1000.0),
            (".5", 0.5),
            ("1_000", "1_000"),
            ("!!str 5", "5"),
            ("'5'", "5"),
            ("|\n        two\n        lines\n", "two\nlines\n"),
            ("{5: a, no: b, null: c}", {"5": "a", "no": "b", "null": "c"}),
            ("café ☕", "café ☕"),
        ],
    )
    def test_yaml_is_that_of_version_1_2(self, write: WriteConfig, text: str, value: object) -> None:
        """Scalars mean what YAML 1.2's core schema says, and keys are text."""
        config = load_config(write(f"plugins:\n  a:\n    path: a\n    config:\n      it: {text}\n"))

        assert config.plugins["a"].config == {"it": value}
        assert type(config.plugins["a"].config["it"]) is type(value)

    def test_anchors_and_merges(self, write: WriteConfig) -> None:
        """Aliases repeat a value; << merges mappings, and what is written beside it wins."""
        config = load_config(
            write("""\
                plugins:
                  a: &a {path: x, timeout: 1s, workers: 2}
                  b: {<<: *a, workers: 3}
                  c: {<<: [{workers: 9}, *a]}
                """)
        )

        assert [config.plugins[name].workers for name in "abc"] == [2, 3, 9]
        assert [config.plugins[name].timeout for name in "abc"] == [1.0, 1.0, 1.0]

    def test_a_byte_order_mark_is_passed_over(self, write: WriteConfig) -> None:
        """A file as Windows' editors save it is read, and its first line keeps its columns."""
        assert load_config(write(b"\xef\xbb\xbfserver: {port: 1}\r\n")).server.port == 1
        assert errors_of(write(b"\xef\xbb\xbfserver: 1\r\n"))[0].startswith("c.yaml:1:9: server: ")

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("2s", 2), ("500ms", 0.5), ("1m", 60), ("1.5 h", 5400), ("3", 3), (2, 2), (0.25, 0.25), ("24h", 86400)],
    )
    def test_durations(self, text: object, seconds: float) -> None:
        """Times have a unit or are seconds."""
        config = parse_config({"server": {"shutdown_timeout": text}})

        assert config.server.shutdown_timeout == pytest.approx(seconds)

    @pytest.mark.parametrize(
        ("text", "size"),
        [("1MiB", 1 << 20), ("64KiB", 65536), ("10MB", 10_000_000), ("1.5kB", 1500), (77, 77), ("77", 77), (0, 0)],
    )
    def test_sizes(self, text: object, size: int) -> None:
        """Sizes have a unit or are bytes."""
        assert parse_config({"server": {"max_body": text}}).server.max_body == size

    def test_handlers_that_discovery_may_find_are_left_to_it(self) -> None:
        """With a directory to look through, an endpoint may name a plugin that is not in the file."""
        config = parse_config(
            {
                "plugin_discovery": {"directories": ["x"]},
                "plugins": {"listed": {"config": {"a": 1}}},
                "endpoints": {"/x": {"runtime": {"handler": "found"}}},
            }
        )

        assert config.plugins["listed"].path is None
        assert config.endpoints["/x"].runtime.handler == "found"


class TestVariables:
    """``${NAME}`` in all its forms."""

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ('"${SET}"', "12"),
            ("${SET}", 12),
            ("a${SET}b${SET}", "a12b12"),
            ("${EMPTY}", None),
            ('"${EMPTY}"', ""),
            ("${EMPTY:-x}", "x"),
            ("${UNSET:-}", None),
            ("${UNSET:-8080}", 8080),
            ('"${UNSET:-8080}"', "8080"),
            ("${UNSET:-a:b-}", "a:b-"),
            ("$$", "$"),
            ("$${SET}", "${SET}"),
            ("$SET ^x$", "$SET ^x$"),
            ("${NESTED}", "${SET}"),
        ],
    )
    def test_expansion(self, write: WriteConfig, monkeypatch: pytest.MonkeyPatch, text: str, value: object) -> None:
        """Unquoted and alone, a variable is read as YAML; else it is text. Nothing is expanded twice."""
        for name, content in {"SET": "12", "EMPTY": "", "NESTED": "${SET}"}.items():
            monkeypatch.setenv(name, content)
        monkeypatch.delenv("UNSET", raising=False)
        config = load_config(write(f"plugins:\n  a:\n    path: a\n    config:\n      it: {text}\n"))

        assert config.plugins["a"].config == {"it": value}

    def test_typed_fields_take_text(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A quoted variable still makes a number or a switch where one is asked for."""
        monkeypatch.setenv("PORT", "81")
        monkeypatch.setenv("ON", "yes")
        config = parse_config(
            {"server": {"port": "${PORT}"}, "plugin_discovery": {"enabled": "${ON}", "recursive": "${ON}"}}
        )

        assert (config.server.port, config.plugin_discovery.recursive) == (81, True)

    def test_unset(self, write: WriteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
        """An unset variable is named with its place, once, and hides no other error."""
        monkeypatch.delenv("NOT_THERE", raising=False)

        assert errors_of(
            write("server:\n  port: ${NOT_THERE}\n  host: [a]\nplugins:\n  a: {path: '${NOT_THERE}'}\n")
        ) == [
            (
                "c.yaml:2:9: server.port: the environment variable NOT_THERE is not set; "
                "set it, or write ${NOT_THERE:-default}"
            ),
            "c.yaml:3:9: server.host: found a list, accepted a host name or an IP address",
            (
                "c.yaml:5:13: plugins.a.path: the environment variable NOT_THERE is not set; "
                "set it, or write ${NOT_THERE:-default}"
            ),
        ]

    @pytest.mark.parametrize("text", ["${}", "${1A}", "${A", "${A-b}", "${A:b}"])
    def test_broken(self, text: str) -> None:
        """What begins like a variable and is none is an error that shows the forms."""
        assert dict_errors({"server": {"host": text}}) == [
            (
                f"server.host: found {text!r}, accepted ${{NAME}}, ${{NAME:-default}}, "
                "or $${ for the characters themselves"
            )
        ]

    def test_the_error_shows_the_variable(self, write: WriteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
        """A wrong value out of the environment is shown together with what the file says."""
        monkeypatch.setenv("PORT", "http")

        assert errors_of(write("server:\n  port: ${PORT}\n")) == [
            "c.yaml:2:9: server.port: found 'http', accepted a whole number from 0 to 65535 (written as '${PORT}')"
        ]


PLUGIN = "plugins: {a: {path: a}}\n"

WRONG_FILES = {
    "empty": (
        "",
        ["c.yaml:1:1: found nothing, accepted a mapping with server, plugin_discovery, plugins and endpoints"],
    ),
    "only a comment": ("# x\n", ["c.yaml:1:1: found nothing, accepted"]),
    "a list": ("- a\n", ["c.yaml:1:1: found a list, accepted a mapping with server"]),
    "a text": ("hello\n", ["c.yaml:1:1: found 'hello', accepted a mapping with server"]),
    "a tab": (
        "server:\n\tport: 1\n",
        ["c.yaml:2:1: no YAML: found character '\\t' that cannot start any token; indent with spaces, not with tabs"],
    ),
    "unclosed": (
        "server: {port: 1\n",
        ["c.yaml:2:1: no YAML: expected ',' or '}', but got '<stream end>' (while parsing a flow mapping from line 1)"],
    ),
    "unquoted variable in braces": (
        "server: {host: ${HOST}}\n",
        ["c.yaml:1:17: no YAML: expected ',' or '}', but got '{'; within [ ] and { } a ${NAME} needs quotes"],
    ),
    "two documents": ("server:\n---\nserver:\n", ["c.yaml:2:1: found a second document; a configuration is one"]),
    "duplicate keys": (
        "server:\n  port: 1\n  port: 2\nserver: {}\n",
        [
            "c.yaml:3:3: server.port: duplicate key (first at line 2)",
            "c.yaml:4:1: server: duplicate key (first at line 1)",
        ],
    ),
    "undefined alias": ("server: *x\n", ["c.yaml:1:9: found the alias *x, but no &x before it"]),
    "recursive alias": ("plugins: &x {a: *x}\n", ["c.yaml:1:17: found the alias *x inside of what it names"]),
    "python tag": (
        "server: !!python/object/apply:os.system ['true']\n",
        ["c.yaml:1:9: server: found the tag !!python/object/apply:os.system; accepted are values without one"],
    ),
    "own tag": (
        "server: {host: !x a}\n",
        ["c.yaml:1:16: server.host: found the tag !x; accepted are values without one"],
    ),
    "wrong core tag": ("server: {port: !!int 80}\n", ["c.yaml:1:16: server.port: found the tag !!int; accepted"]),
    "infinity": (
        PLUGIN + "server: {shutdown_timeout: .inf, port: .nan}\n",
        [
            "c.yaml:2:28: server.shutdown_timeout: found a number that JSON cannot carry",
            "c.yaml:2:40: server.port: found a number that JSON cannot carry",
        ],
    ),
    "huge number": ("server: {port: " + "9" * 5000 + "}\n", ["c.yaml:1:16: server.port: found a number that JSON"]),
    "complex key": ("? [a]\n: b\n", ["c.yaml:1:3: found a key that is a list or a mapping; keys are text"]),
    "merge of a scalar": ("server: {<<: 5}\n", ["c.yaml:1:10: server: found no mapping after <<, accepted one or"]),
    "a control character": ("server: {host: 'a\x01'}\n", ["c.yaml:1:18: found the character U+0001, which YAML does"]),
    "not UTF-8": (b"server:\n  host: \xe9\n", ["c.yaml:2:9: found the byte 0xe9, accepted UTF-8 text"]),
    "UTF-16": ("server:\n".encode("utf-16"), ["c.yaml:1:1: found the byte 0xff, accepted UTF-8 text"]),
    "deep": ("server: " + "[" * 100_000, ["c.yaml:1:72: found more than 64 levels of nesting"]),
    "anchor bomb": (
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)),
        ["found more than 100,000 values, each use of an alias counted"],
    ),
    "too large": (b"#" * (5 << 20), ["c.yaml: found more than 4,194,304 bytes, accepted a configuration of at most"]),
    "unknown keys": (
        "servers: {}\nserver: {hots: x}\nx: 1\n",
        [
            "c.yaml:1:1: servers: unknown key; did you mean server? Known are: server, plugin_",
            "c.yaml:2:10: server.hots: unknown key; did you mean host? Known are: host, port",
            "c.yaml:3:1: x: unknown key; known are: server, plugin_discovery, plugins, endpoints",
        ],
    ),
    "wrong shapes": (
        "server: 5\nplugins: [a]\nendpoints: x\nplugin_discovery: {directories: ./plugins}\n",
        [
            "c.yaml:1:9: server: found 5, accepted a mapping with host, port, max_body, workers and shutdown_timeout",
            "c.yaml:2:10: plugins: found a list, accepted a mapping",
            "c.yaml:3:12: endpoints: found 'x', accepted a mapping",
            "c.yaml:4:33: plugin_discovery.directories: found './plugins', accepted a list",
        ],
    ),
    "wrong scalars": (
        "server:\n  host: ''\n  port: true\n  max_body: 1 elephant\n  shutdown_timeout: -1\n",
        [
            "c.yaml:2:9: server.host: found '', accepted a host name or an IP address",
            "c.yaml:3:9: server.port: found true, accepted a whole number from 0 to 65535",
            "c.yaml:4:13: server.max_body: found '1 elephant', accepted a size such as 64KiB, 1MiB",
            "c.yaml:5:21: server.shutdown_timeout: found -1, accepted a time such as 500ms",
        ],
    ),
    "wrong plugins": (
        """\
        plugins:
          a: {plugin_type: extern, path: 5, isolation: vm, workers: 0, timeout: 25h, config: []}
          b:
          c: {plugin_type: builtin, path: ./c.py, isolation: process}
          "d/e": {path: ""}
          f: {plugin_type: builtin}
        """,
        [
            "c.yaml:2:20: plugins.a.plugin_type: found 'extern', accepted external or builtin",
            "c.yaml:2:34: plugins.a.path: found 5, accepted a path; a relative one starts at the directory",
            "c.yaml:2:48: plugins.a.isolation: found 'vm', accepted none or thread or process",
            "c.yaml:2:61: plugins.a.workers: found 0, accepted a whole number from 1 to 256",
            "c.yaml:2:73: plugins.a.timeout: found '25h', accepted a time such as 500ms, 2s, 1m, 1h, or",
            "c.yaml:2:86: plugins.a.config: found a list, accepted a mapping",
            "c.yaml:3:3: plugins.b.path: missing; write the path of the library, or let plugin_discovery",
            "c.yaml:4:35: plugins.c.path: found './c.py', accepted what a builtin plugin is imported by",
            "c.yaml:4:54: plugins.c.isolation: found 'process', accepted none or thread: a builtin plugin is an object",
            "c.yaml:5:3: plugins[\"d/e\"]: found the name 'd/e', accepted up to 64 letters, digits, '.', '_' and '-'",
            "c.yaml:5:17: plugins[\"d/e\"].path: found '', accepted a path",
        ],
    ),
    "wrong supervision": (
        """\
        plugins:
          a: {path: a, queue: -1, health_check: 0, breaker: 5, restart: {first: 1s}, start_timeout: x}
          b: {path: b, breaker: {failures: 0, opened: 1s}, limits: {memory: 1MiB, cpu_time: 500ms, files: 5}}
          c: {path: c, environment: [PATH, A B, 5], limits: [], restart: x}
          d: {path: d, isolation: thread, limits: {memory: 1GiB}, environment: [PATH], restart: {initial: 1s}}
          e: {plugin_type: builtin, limits: {open_files: 1}, start_timeout: 5s}
        endpoints:
          /a: {runtime: {handler: a}, retry: 11}
        """,
        [
            "c.yaml:2:23: plugins.a.queue: found -1, accepted a whole number from 0 to 100000",
            "c.yaml:2:41: plugins.a.health_check: found 0, accepted a time such as",
            "c.yaml:2:53: plugins.a.breaker: found 5, accepted false, or a mapping with failures, window, open, probes",
            "c.yaml:2:66: plugins.a.restart.first: unknown key; known are: initial, maximum, give_up_after",
            "c.yaml:2:93: plugins.a.start_timeout: found 'x', accepted a time such as",
            "c.yaml:3:36: plugins.b.breaker.failures: found 0, accepted a whole number from 1 to 1000",
            "c.yaml:3:39: plugins.b.breaker.opened: unknown key; did you mean open? Known are: failures, window, open",
            "c.yaml:3:69: plugins.b.limits.memory: found '1MiB', accepted a size such as 512MiB, 2GiB, or a number of",
            "c.yaml:3:85: plugins.b.limits.cpu_time: found '500ms', accepted whole seconds such as 60s, 5m, 1h, or a",
            "c.yaml:3:92: plugins.b.limits.files: unknown key; did you mean open_files? Known are: memory, cpu_time",
            "c.yaml:4:36: plugins.c.environment[1]: found 'A B', accepted the name of an environment variable",
            "c.yaml:4:41: plugins.c.environment[2]: found 5, accepted the name of an environment variable",
            "c.yaml:4:53: plugins.c.limits: found a list, accepted a mapping with memory, cpu_time, open_files,",
            "c.yaml:4:66: plugins.c.restart: found 'x', accepted a mapping with initial, maximum and give_up_after",
            "c.yaml:5:35: plugins.d.limits: found with isolation thread, accepted with isolation process: only that",
            "c.yaml:5:59: plugins.d.environment: found with isolation thread, accepted with isolation process",
            "c.yaml:5:80: plugins.d.restart: found with isolation thread, accepted with isolation process",
            "c.yaml:6:29: plugins.e.limits: found with isolation thread, accepted with isolation process",
            "c.yaml:6:50: plugins.e.limits.open_files: found 1, accepted a whole number from 16 to 1048576",
            "c.yaml:6:54: plugins.e.start_timeout: found with isolation thread, accepted with isolation process",
            'c.yaml:8:38: endpoints["/a"].retry: found 11, accepted a whole number from 0 to 10',
        ],
    ),
    "wrong endpoints": (
        """\
        plugins: {a: {path: a}, off: {path: a, enabled: no}}
        endpoints:
          api: {runtime: {handler: a}}
          /a: {runtime: {handler: b}}
          /b: {runtime: {handler: off}}
          /c: {}
          /d: {runtime: {type: lambda}}
          /e: {method: GET, methods: [GET], runtime: {handler: a}}
          /f: {methods: [], runtime: {handler: a}}
          /g: {method: "G T", data: xml, timeout: 0, description: 5, runtime: {handler: a}}
          /h: {methods: [GET, 5], runtime: {handler: a}}
          /i:
        """,
        [
            "c.yaml:3:3: endpoints.api: found 'api', accepted a path that begins with /",
            "c.yaml:4:27: endpoints[\"/a\"].runtime.handler: found no plugin 'b'; known are: a, off",
            "c.yaml:5:27: endpoints[\"/b\"].runtime.handler: the plugin 'off' is disabled; enable it, or remove",
            'c.yaml:6:3: endpoints["/c"].runtime: missing; write, for example, runtime: {"type": "plugin", "handler":',
            'c.yaml:7:8: endpoints["/d"].runtime.handler: missing; write, for example, handler: "weather"',
            "c.yaml:7:24: endpoints[\"/d\"].runtime.type: found 'lambda', accepted plugin",
            'c.yaml:8:21: endpoints["/e"].methods: found method and methods, accepted one of them',
            'c.yaml:9:17: endpoints["/f"].methods: found an empty list, accepted at least one method',
            "c.yaml:10:16: endpoints[\"/g\"].method: found 'G T', accepted an HTTP method such as GET or POST",
            "c.yaml:10:29: endpoints[\"/g\"].data: found 'xml', accepted request or body",
            'c.yaml:10:43: endpoints["/g"].timeout: found 0, accepted a time such as',
            'c.yaml:10:59: endpoints["/g"].description: found 5, accepted a text',
            'c.yaml:11:23: endpoints["/h"].methods[1]: found 5, accepted an HTTP method',
            'c.yaml:12:6: endpoints["/i"]: found nothing, accepted a mapping with methods, runtime, data, timeout,',
        ],
    ),
}


class TestWrongFiles:
    """Files that are wrong."""

    @pytest.mark.parametrize("name", WRONG_FILES)
    def test_every_error_has_its_place_and_sentence(self, write: WriteConfig, name: str) -> None:
        """All errors of a file come at once, by position, each a line with its place."""
        text, wanted = WRONG_FILES[name]
        errors = errors_of(write(text))

        assert len(errors) == len(wanted), errors
        for error, start in zip(errors, wanted, strict=True):
            assert error.startswith("c.yaml:")
            assert start in error

    @pytest.mark.parametrize("name", [name for name, (text, _) in WRONG_FILES.items() if name != "too large"])
    def test_both_parsers_say_the_same(self, write: WriteConfig, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """Without libyaml, every error is the same to the letter."""
        path = write(WRONG_FILES[name][0])
        fast = errors_of(path)
        monkeypatch.setattr(nodes, "_FAST", yaml.SafeLoader)

        assert errors_of(path) == fast

    def test_both_parsers_find_the_same_places(self, write: WriteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without libyaml, the models and every position are the same."""
        monkeypatch.setenv("WEATHER_API_KEY", "12345")
        path = write(FULL)
        fast = load_config(path)
        monkeypatch.setattr(nodes, "_FAST", yaml.SafeLoader)
        slow = load_config(path)

        assert slow == fast
        assert slow.source.values == fast.source.values
        assert len(fast.source.values) > 40

    def test_missing(self, tmp_path: Path) -> None:
        """A missing file is named as it was given."""
        assert errors_of("nowhere/x.yaml") == ["nowhere/x.yaml: there is no such file"]
        assert errors_of(tmp_path) == [f"{tmp_path}: found a directory, accepted a YAML file"]

    def test_unreadable(self, write: WriteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that may not be read is a ConfigError with the system's words."""
        path = write("server:\n")

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)

        assert errors_of(path) == ["c.yaml: the file cannot be read: Permission denied"]

    @given(st.text(st.sampled_from(" \n\t-:{}[],&*!|>'\"#$?%@ab1<~"), max_size=60))
    @settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_any_text_is_a_configuration_or_a_config_error(self, write: WriteConfig, text: str) -> None:
        """Whatever the bytes are, nothing else than a ConfigError with places comes out."""
        path = write(text.encode())
        lines: tuple[str, ...] = ()
        try:
            load_config(path)
        except ConfigError as error:
            lines = error.errors

        assert all(line.startswith("c.yaml:") for line in lines)


class TestPaths:
    """The paths of endpoints."""

    @pytest.mark.parametrize(
        ("path", "sentence"),
        [
            ("/a//b", "found the segment ''"),
            ("//", "found the segment ''"),
            ("/a b", "found the segment 'a b'"),
            ("/a/../b", "found the segment '..'"),
            ("/a?b", "found the segment 'a?b'"),
            ("/{a", "found the segment '{a'"),
            ("/x{a}", "found the segment 'x{a}'"),
            ("/{a:path}", "found the segment '{a:path}'"),
            ("/{}", "found the segment '{}'"),
            ("/{1a}", "found the segment '{1a}'"),
            ("/{a}/{a}", "found {a} twice, accepted each name once"),
            *((path, "choose another") for path in RESERVED_PATHS),
        ],
    )
    def test_refused(self, path: str, sentence: str) -> None:
        """A path that no request could reach as written, or that is the server's, is refused."""
        [error] = dict_errors({"plugins": {"a": {"path": "a"}}, "endpoints": {path: {"runtime": {"handler": "a"}}}})

        assert error.startswith(f"endpoints[{json.dumps(path)}]: ")
        assert sentence in error

    @pytest.mark.parametrize("path", ["/", "/a", "/a/", "/a/{b}/c.d-e_f~", "/{a}/{b}", "/é", "/docs/x"])
    def test_accepted(self, path: str) -> None:
        """Literal segments and names make a path."""
        endpoints = {path: {"runtime": {"handler": "a"}}}

        assert path in parse_config({"plugins": {"a": {"path": "a"}}, "endpoints": endpoints}).endpoints

    def test_two_that_match_the_same(self) -> None:
        """Two paths that differ in the names of their parameters only are refused."""
        endpoint = {"runtime": {"handler": "a"}}
        errors = dict_errors({"plugins": {"a": {"path": "a"}}, "endpoints": {"/x/{a}": endpoint, "/x/{b}": endpoint}})

        assert errors == ["endpoints[\"/x/{b}\"]: matches the same requests as the endpoint '/x/{a}'"]


class TestDict:
    """A configuration without a file."""

    def test_errors_have_the_path_only(self) -> None:
        """Without a file, a line begins with the path of the value."""
        assert dict_errors({"server": {"prot": 1}}) == [
            "server.prot: unknown key; did you mean port? Known are: host, port, max_body, workers, shutdown_timeout"
        ]

    @pytest.mark.parametrize("value", [math.nan, math.inf, object(), {1, 2}, b"x"])
    def test_what_json_cannot_carry(self, value: object) -> None:
        """A plugin's configuration is refused where JSON has no word for it."""
        [error] = dict_errors({"plugins": {"a": {"path": "a", "config": {"x": [value]}}}})

        assert error.startswith("plugins.a.config: found ")
        assert "JSON can" in error

    def test_a_circle(self) -> None:
        """A dict that contains itself is an error, not an endless loop."""
        circle: dict[str, Any] = {}
        circle["plugins"] = circle

        assert dict_errors(circle) == ["found more than 64 levels of nesting"]

    def test_no_mapping(self) -> None:
        """Something else than a mapping is a TypeError."""
        with pytest.raises(TypeError, match="a configuration is a mapping, not list"):
            parse_config([])  # type: ignore[arg-type]


class TestSchema:
    """The JSON Schema for editors."""

    def test_it_is_a_schema_with_words(self) -> None:
        """The schema is one of 2020-12, and says something about every field."""
        schema = config_schema()
        jsonschema.Draft202012Validator.check_schema(schema)
        models = {"Config": schema, **schema["$defs"]}

        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        for name, model in models.items():
            assert model["additionalProperties"] is False, name
            assert model["description"], name
            for field, details in model["properties"].items():
                assert details.get("description") or "$ref" in details, f"{name}.{field}"

    def test_it_accepts_what_is_accepted(self) -> None:
        """An editor has nothing to say about the documented example, variables included."""
        data = yaml.load(FULL.replace("port: 9000", "port: '${PORT:-9000}'"), Loader=yaml.BaseLoader)
        data["plugins"]["weather"] |= {"enabled": True, "workers": 2, "critical": False}
        data["plugin_discovery"] |= {"enabled": True, "recursive": False}

        assert [*jsonschema.Draft202012Validator(config_schema()).iter_errors(data)] == []

    @pytest.mark.parametrize("breaker", [False, True, {}, {"failures": 3, "open": "5s"}])
    def test_it_knows_supervision(self, breaker: object) -> None:
        """An editor has nothing to say about limits, restarts and both forms of a breaker."""
        plugin = {"path": "a", "breaker": breaker, "queue": 1, "health_check": None, "environment": ["TZ"]}
        plugin |= {"limits": {"memory": "1GiB", "cpu_time": "5m", "open_files": None}, "restart": {"maximum": 5}}
        data = {"plugins": {"a": plugin}, "endpoints": {"/a": {"retry": 1, "runtime": {"handler": "a"}}}}

        assert [*jsonschema.Draft202012Validator(config_schema()).iter_errors(data)] == []

    @pytest.mark.parametrize(
        "data",
        [
            {"server": {"prot": 1}},
            {"server": {"port": "http"}},
            {"server": {"max_body": "1 elephant"}},
            {"plugins": {"a": {"timeout": "2 weeks"}}},
            {"plugins": {"a": {"isolation": "vm"}}},
            {"plugins": {"a": {"breaker": 5}}},
            {"plugins": {"a": {"breaker": {"failures": 0}}}},
            {"plugins": {"a": {"limits": {"memory": 5}}}},
            {"plugins": {"a": {"restart": {"first": 1}}}},
            {"endpoints": {"/a": {}}},
            {"endpoints": {"/a": {"retry": -1, "runtime": {"handler": "a"}}}},
            {"endpoints": {"/a": {"method": "GET", "methods": ["GET"], "runtime": {"handler": "a"}}}},
        ],
    )
    def test_it_refuses_what_is_refused(self, data: object) -> None:
        """An editor marks what a start would refuse."""
        assert not jsonschema.Draft202012Validator(config_schema()).is_valid(data)


SCHEMA = """"config_schema": {
  "type": "object", "additionalProperties": false, "required": ["reports"],
  "properties": {"reports": {"type": "string"}, "limit": {"type": "integer"}, "key": {"maxLength": 3}}}"""


@pytest.fixture(scope="module", name="picky")
def _picky(compile_plugin: CompilePlugin) -> Path:
    """A plugin whose manifest has a schema."""
    source = ECHO.replace('"description": "Answers what it was sent"', SCHEMA)
    return compile_plugin(source, name="picky", flags=['-DNAME="picky"'])


class TestDump:
    """A configuration written out again."""

    def test_it_reads_as_the_same(self, write: WriteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is shown is a whole configuration that means the same, and secrets stay variables."""
        monkeypatch.setenv("WEATHER_API_KEY", "hush-hush")
        config = load_config(write(FULL))
        text = config_yaml(config)
        again = load_config(write(text))

        assert again.model_dump() == config.model_dump()
        assert "hush-hush" not in text
        assert 'api_key: "${WEATHER_API_KEY}"' in text

    @pytest.mark.parametrize("isolation", ["none", "thread", "process"])
    @pytest.mark.parametrize("breaker", [False, True])
    def test_supervision(self, write: WriteConfig, isolation: str, breaker: bool) -> None:
        """What is only for worker processes is left out where there are none; a breaker that is off stays off."""
        data = {"plugins": {"a": {"path": "/a", "isolation": isolation, "breaker": breaker, "health_check": None}}}
        config = parse_config(data)
        again = load_config(write(config_yaml(config)))

        assert again.model_dump() == config.model_dump()

    @pytest.mark.parametrize("text", ["yes", "12", "1e3", "0o17", "", "null", "~", "a: b", "- a", "é\n", "=", ".inf"])
    def test_text_stays_text(self, write: WriteConfig, text: str) -> None:
        """A text that looks like something else is quoted."""
        config = parse_config({"plugins": {"a": {"path": "a", "config": {text: text}}}})

        assert load_config(write(config_yaml(config))).plugins["a"].config == {text: text}


class TestPlugins:
    """What the plugins' files say to a configuration."""

    def test_schema_errors_have_places(self, write: WriteConfig, picky: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What breaks a plugin's own schema is reported at its line, and no secret is shown."""
        monkeypatch.setenv("KEY", "hush-hush")
        config = load_config(
            write(f"""\
                plugins:
                  one:
                    path: {picky}
                    config: {{limit: many, key: "${{KEY}}", more: 1}}
                """)
        )
        checked = check_plugins(config)
        settings_errors, library_errors = checked.settings, checked.libraries

        assert library_errors == []
        assert settings_errors == [
            "c.yaml:4:5: plugins.one.config: the plugin's schema does not accept the value of '${KEY}'",
            "c.yaml:4:21: plugins.one.config.limit: 'many' is not of type 'integer'",
            "c.yaml:4:32: plugins.one.config.key: the plugin's schema does not accept the value of '${KEY}'",
        ]

    def test_libraries_that_will_not_load(self, write: WriteConfig, picky: Path) -> None:
        """Missing files and texts are reported at their paths; a plugin that may be missing is told apart."""
        Path("text.so").write_text("hello")
        config = load_config(
            write(f"""\
                plugins:
                  good: {{path: {picky.with_suffix("")}, config: {{reports: x}}}}
                  gone: {{path: ./gone}}
                  text: {{path: text.so}}
                  off: {{path: ./off, enabled: false}}
                  spare: {{path: ./spare, critical: false}}
                """)
        )
        checked = check_plugins(config)
        settings_errors, library_errors, left_out = checked.settings, checked.libraries, checked.left_out

        assert settings_errors == []
        assert len(left_out) == 1
        assert left_out[0].startswith("c.yaml:6:17: plugins.spare.path: ")
        assert len(library_errors) == 2
        assert library_errors[0].startswith("c.yaml:3:16: plugins.gone.path: ")
        assert "there is no such file" in library_errors[0]
        assert library_errors[1].startswith("c.yaml:4:16: plugins.text.path: ")
        assert "the file starts with 'hello'" in library_errors[1]

    def test_discovered(self, write: WriteConfig, picky: Path) -> None:
        """Names are looked up among what discovery finds, and the configuration is checked all the same."""
        config = load_config(
            write(f"""\
                plugin_discovery: {{directories: [{picky.parent}]}}
                plugins:
                  picky: {{config: {{reports: 5}}}}
                  pickyy:
                endpoints:
                  /a: {{runtime: {{handler: picky}}}}
                  /b: {{runtime: {{handler: piky}}}}
                """)
        )
        checked = check_plugins(config)
        settings_errors, library_errors = checked.settings, checked.libraries

        assert library_errors == [
            (
                "c.yaml:4:3: plugins.pickyy: plugin_discovery finds no plugin 'pickyy'; "
                "did you mean picky? Known are: picky"
            )
        ]
        assert settings_errors == [
            "c.yaml:3:29: plugins.picky.config.reports: 5 is not of type 'string'",
            (
                "c.yaml:7:27: endpoints[\"/b\"].runtime.handler: plugin_discovery finds no plugin 'piky'; "
                "did you mean picky? Known are: picky"
            ),
        ]


def test_warnings(write: WriteConfig) -> None:
    """A timeout that nothing can keep is allowed, and warned about with its place."""
    config = load_config(
        write("""\
            plugins: {a: {path: a, isolation: none, timeout: 1s}, b: {path: b, isolation: none}}
            endpoints:
              /a: {timeout: 1s, runtime: {handler: b}}
              /b: {runtime: {handler: b}}
            """)
    )

    assert [line.split(":", 4)[:4] for line in warnings_of(config)] == [
        ["c.yaml", "1", "50", " plugins.a.timeout"],
        ["c.yaml", "3", "17", ' endpoints["/a"].timeout'],
    ]


def test_a_thousand_endpoints_are_read_in_a_moment(write: WriteConfig) -> None:
    """The limits are far above what people write."""
    lines = "".join(f"  /api/{i}/{{x}}: {{method: GET, runtime: {{handler: a}}}}\n" for i in range(1000))

    assert len(load_config(write(PLUGIN + "endpoints:\n" + lines)).endpoints) == 1000
