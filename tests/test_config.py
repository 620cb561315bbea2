"""The configuration: what it accepts, and the message and position of every error."""

from __future__ import annotations

import json
import math
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from conftest import ECHO, CompilePlugin
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backworks import PluginManager
from backworks.config import (
    RESERVED_PATHS,
    Config,
    config_schema,
    load_config,
    nodes,
    parse_config,
    warnings_of,
)
from backworks.config.dump import config_data, config_yaml
from backworks.config.plugins import absolute_plugin_configs, add_plugin_schemas, check_plugins
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
    """Loads an invalid file and returns its errors."""
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value) == "\n".join(caught.value.errors)
    return list(caught.value.errors)


def dict_errors(data: dict[str, Any]) -> list[str]:
    """Parses an invalid dict and returns its errors."""
    with pytest.raises(ConfigError) as caught:
        parse_config(data)
    return list(caught.value.errors)


class TestAccepted:
    """Valid configurations and the models they become."""

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
        """Settings that are not configured have the documented values."""
        config = parse_config(
            {"plugins": {"a": {"path": "a"}, "b": {"path": "b", "isolation": "none"}, "c": {"plugin_type": "builtin"}}}
        )
        server, plugin = config.server, config.plugins["a"]

        assert (server.host, server.port) == ("127.0.0.1", 8080)
        assert (server.max_body, server.shutdown_timeout) == (1048576, 1.0)
        assert (server.head_timeout, server.body_timeout, server.keep_alive_timeout) == (20.0, 30.0, 75.0)
        assert (server.max_connections, server.allowed_hosts) == (None, ())
        assert config.plugin_discovery.directories == ()
        assert config.endpoints == {}
        assert (plugin.enabled, plugin.plugin_type, plugin.critical) == (True, "external", True)
        assert (plugin.isolation, plugin.workers, plugin.timeout) == ("process", 1, 30.0)
        assert (plugin.queue, plugin.health_check, plugin.start_timeout) == (64, 10.0, 10.0)
        assert plugin.environment == ()
        assert asdict(plugin.restart) == {"initial": 0.1, "maximum": 30.0}
        assert plugin.breaker is not None
        assert asdict(plugin.breaker) == {"failures": 5, "window": 30.0, "open": 10.0, "probes": 1}
        assert plugin.settings == Settings()
        assert plugin.config == {}
        assert (config.plugins["b"].timeout, config.plugins["b"].breaker) == (None, None)
        assert (config.plugins["b"].workers, config.plugins["c"].isolation) == (4, "thread")

    def test_supervision(self) -> None:
        """Limits, restarts and the circuit breaker arrive in the models."""
        config = parse_config(
            {
                "plugins": {
                    "a": {
                        "path": "a",
                        "queue": "0",
                        "restart": {"initial": "200ms", "maximum": "1m"},
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
        assert asdict(plugin.restart) == {"initial": 0.2, "maximum": 60.0}
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
        """The breaker is on by default except with isolation none, and can be set explicitly with any isolation."""
        plugin = parse_config({"plugins": {"a": {"path": "a", "isolation": isolation, **written}}}).plugins["a"]

        assert (plugin.breaker is not None) is is_on

    def test_models_are_frozen_and_comparable(self) -> None:
        """A configuration cannot be changed, and two made from equal dicts are equal."""
        config = parse_config({"server": {"port": 1}})

        assert config == parse_config({"server": {"port": 1}})
        with pytest.raises(ValueError, match="frozen"):
            config.server.port = 2

    def test_a_dict_means_what_a_file_means(self, write: WriteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
        """A document produces the same models as a file and as a dict."""
        monkeypatch.setenv("WEATHER_API_KEY", "12345")
        from_file = load_config(write(FULL))
        from_dict = parse_config(yaml.safe_load(FULL))

        assert from_dict.model_dump() == from_file.model_dump()

    def test_a_dict_may_hold_paths_and_tuples(self) -> None:
        """A program may pass a Path or a tuple where a file has a string or a list."""
        config = parse_config(
            {"plugins": {"a": {"path": Path("x"), "config": {"at": Path("y"), "of": (1, 2)}}}}, base="/base"
        )

        assert config.plugins["a"].path == Path("/base").absolute() / "x"
        assert config.plugins["a"].config == {"at": "y", "of": [1, 2]}

    def test_relative_paths_start_at_the_file(self, write: WriteConfig, tmp_path: Path) -> None:
        """Relative paths do not depend on the working directory; a plugin's own configuration stays unchanged."""
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
        """Scalars follow the core schema of YAML 1.2, and keys are strings."""
        config = load_config(write(f"plugins:\n  a:\n    path: a\n    config:\n      it: {text}\n"))

        assert config.plugins["a"].config == {"it": value}
        assert type(config.plugins["a"].config["it"]) is type(value)

    def test_anchors_and_merges(self, write: WriteConfig) -> None:
        """Aliases repeat a value; << merges mappings, and explicit keys take precedence."""
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
        """A file with a byte order mark is read, and the mark does not shift the columns of the first line."""
        assert load_config(write(b"\xef\xbb\xbfserver: {port: 1}\r\n")).server.port == 1
        assert errors_of(write(b"\xef\xbb\xbfserver: 1\r\n"))[0].startswith("c.yaml:1:9: server: ")

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("2s", 2), ("500ms", 0.5), ("1m", 60), ("1.5 h", 5400), ("3", 3), (2, 2), (0.25, 0.25), ("24h", 86400)],
    )
    def test_durations(self, text: object, seconds: float) -> None:
        """Durations have a unit or are in seconds."""
        config = parse_config({"server": {"shutdown_timeout": text}})

        assert config.server.shutdown_timeout == pytest.approx(seconds)

    @pytest.mark.parametrize(
        ("text", "size"),
        [("1MiB", 1 << 20), ("64KiB", 65536), ("10MB", 10_000_000), ("1.5kB", 1500), (77, 77), ("77", 77), (0, 0)],
    )
    def test_sizes(self, text: object, size: int) -> None:
        """Sizes have a unit or are in bytes."""
        assert parse_config({"server": {"max_body": text}}).server.max_body == size

    def test_handlers_that_discovery_may_find_are_left_to_it(self) -> None:
        """With a directory to search, an endpoint may name a plugin that the file does not list."""
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
        """A single unquoted variable is read as YAML; any other is a string. Nothing is expanded twice."""
        for name, content in {"SET": "12", "EMPTY": "", "NESTED": "${SET}"}.items():
            monkeypatch.setenv(name, content)
        monkeypatch.delenv("UNSET", raising=False)
        config = load_config(write(f"plugins:\n  a:\n    path: a\n    config:\n      it: {text}\n"))

        assert config.plugins["a"].config == {"it": value}

    def test_typed_fields_take_text(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A quoted variable is converted in a field that is a number or a switch."""
        monkeypatch.setenv("PORT", "81")
        monkeypatch.setenv("ON", "yes")
        config = parse_config(
            {"server": {"port": "${PORT}"}, "plugin_discovery": {"enabled": "${ON}", "recursive": "${ON}"}}
        )

        assert (config.server.port, config.plugin_discovery.recursive) == (81, True)

    def test_unset(self, write: WriteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
        """An unset variable is reported once, with its position, and hides no other error."""
        monkeypatch.delenv("NOT_THERE", raising=False)

        assert errors_of(
            write("server:\n  port: ${NOT_THERE}\n  host: [a]\nplugins:\n  a: {path: '${NOT_THERE}'}\n")
        ) == [
            (
                "c.yaml:2:9: server.port: the environment variable NOT_THERE is not set; "
                "set it or write ${NOT_THERE:-default}"
            ),
            "c.yaml:3:9: server.host: must be a host name or an IP address, not a list",
            (
                "c.yaml:5:13: plugins.a.path: the environment variable NOT_THERE is not set; "
                "set it or write ${NOT_THERE:-default}"
            ),
        ]

    @pytest.mark.parametrize("text", ["${}", "${1A}", "${A", "${A-b}", "${A:b}"])
    def test_broken(self, text: str) -> None:
        """Text that starts like a variable but is not one is an error that shows the valid forms."""
        assert dict_errors({"server": {"host": text}}) == [
            (
                f"server.host: a variable must be ${{NAME}} or ${{NAME:-default}}, not {text!r}; "
                "write $${ for a literal ${"
            )
        ]

    def test_the_error_shows_the_variable(self, write: WriteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
        """An invalid value from the environment is shown with the variable it comes from."""
        monkeypatch.setenv("PORT", "http")

        assert errors_of(write("server:\n  port: ${PORT}\n")) == [
            "c.yaml:2:9: server.port: must be a whole number from 0 to 65535, not 'http' (expanded from '${PORT}')"
        ]


PLUGIN = "plugins: {a: {path: a}}\n"

WRONG_FILES = {
    "empty": (
        "",
        ["c.yaml:1:1: the configuration must be a mapping with server, plugin_discovery, plugins and endpoints, not"],
    ),
    "only a comment": ("# x\n", ["c.yaml:1:1: the configuration must be a mapping with server, plugin_discovery,"]),
    "a list": ("- a\n", ["c.yaml:1:1: the configuration must be a mapping with server, plugin_discovery, plugins and"]),
    "a text": ("hello\n", ["c.yaml:1:1: the configuration must be a mapping with server, plugin_discovery, plugins"]),
    "a tab": (
        "server:\n\tport: 1\n",
        ["c.yaml:2:1: invalid YAML: found character '\\t' that cannot start any token; indent with spaces, not tabs"],
    ),
    "unclosed": (
        "server: {port: 1\n",
        ["c.yaml:2:1: invalid YAML: expected ',' or '}', but got '<stream end>' (while parsing a flow mapping from"],
    ),
    "unquoted variable in braces": (
        "server: {host: ${HOST}}\n",
        ["c.yaml:1:17: invalid YAML: expected ',' or '}', but got '{'; quote ${NAME} inside [ ] and { }"],
    ),
    "two documents": ("server:\n---\nserver:\n", ["c.yaml:2:1: the file contains a second document; remove it"]),
    "duplicate keys": (
        "server:\n  port: 1\n  port: 2\nserver: {}\n",
        [
            "c.yaml:3:3: server.port: duplicate key; it first appears in line 2",
            "c.yaml:4:1: server: duplicate key; it first appears in line 1",
        ],
    ),
    "undefined alias": ("server: *x\n", ["c.yaml:1:9: the alias *x has no anchor &x before it"]),
    "recursive alias": ("plugins: &x {a: *x}\n", ["c.yaml:1:17: the alias *x is inside the value that it refers to"]),
    "python tag": (
        "server: !!python/object/apply:os.system ['true']\n",
        ["c.yaml:1:9: server: the tag !!python/object/apply:os.system is not supported; remove it"],
    ),
    "own tag": (
        "server: {host: !x a}\n",
        ["c.yaml:1:16: server.host: the tag !x is not supported; remove it"],
    ),
    "wrong core tag": ("server: {port: !!int 80}\n", ["c.yaml:1:16: server.port: the tag !!int is not supported;"]),
    "infinity": (
        PLUGIN + "server: {shutdown_timeout: .inf, port: .nan}\n",
        [
            "c.yaml:2:28: server.shutdown_timeout: must be a finite number: JSON cannot represent infinity and NaN",
            "c.yaml:2:40: server.port: must be a finite number: JSON cannot represent infinity and NaN",
        ],
    ),
    "huge number": (
        "server: {port: " + "9" * 5000 + "}\n",
        ["c.yaml:1:16: server.port: is a number that is too large"],
    ),
    "huge hexadecimal number": (
        "server: {port: 0x" + "9" * 6000 + "}\n",
        ["c.yaml:1:16: server.port: is a number that is"],
    ),
    "hash": (
        "server: {port: 4225e948}\n",
        ["c.yaml:1:16: server.port: is a number that is too large for JSON; quote it"],
    ),
    "nested variable": (
        'server: {host: "${A:-${B}}"}\n',
        ["c.yaml:1:16: server.host: the default of ${A} cannot contain"],
    ),
    "backslash": (
        'server: {host: "C:\\plugins"}\n',
        ["c.yaml:1:20: invalid YAML: found unknown escape character 'p'; write"],
    ),
    "path with a line feed": (
        'plugins: {a: {path: "C:\\new\\table"}}\n',
        ["c.yaml:1:21: plugins.a.path: must be a path without control characters, not 'C:\\new\\table'; in double"],
    ),
    "complex key": ("? [a]\n: b\n", ["c.yaml:1:3: a key must be a string, not a list or a mapping"]),
    "merge of a scalar": ("server: {<<: 5}\n", ["c.yaml:1:10: server: the value of << must be a mapping or a list of"]),
    "a control character": ("server: {host: 'a\x01'}\n", ["c.yaml:1:18: YAML does not allow the character U+0001;"]),
    "not UTF-8": (b"server:\n  host: \xe9\n", ["c.yaml:2:9: the file must be UTF-8 text; the byte 0xe9 is not valid"]),
    "UTF-16": ("server:\n".encode("utf-16"), ["c.yaml:1:1: the file must be UTF-8 text; the byte 0xff is not valid"]),
    "deep": ("server: " + "[" * 100_000, ["c.yaml:1:72: the file nests more than 64 levels deep"]),
    "anchor bomb": (
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)),
        ["the file has more than 100,000 values, counting each use of an alias"],
    ),
    "too large": (b"#" * (5 << 20), ["c.yaml: the file is larger than 4,194,304 bytes, the limit of a configuration"]),
    "unknown keys": (
        "servers: {}\nserver: {hots: x}\nx: 1\n",
        [
            "c.yaml:1:1: servers: unknown key; did you mean server? Expected one of server, plugin_discovery, plugins,",
            "c.yaml:2:10: server.hots: unknown key; did you mean host? Expected one of host, port, max_body, workers,",
            "c.yaml:3:1: x: unknown key; expected one of server, plugin_discovery, plugins, endpoints",
        ],
    ),
    "wrong shapes": (
        "server: 5\nplugins: [a]\nendpoints: x\nplugin_discovery: {directories: ./plugins}\n",
        [
            "c.yaml:1:9: server: must be a mapping with host, port, max_body, workers, shutdown_timeout, ",
            "c.yaml:2:10: plugins: must be a mapping, not a list",
            "c.yaml:3:12: endpoints: must be a mapping, not 'x'",
            "c.yaml:4:33: plugin_discovery.directories: must be a list, not './plugins'",
        ],
    ),
    "wrong scalars": (
        "server:\n  host: ''\n  port: true\n  max_body: 1 elephant\n  shutdown_timeout: -1\n",
        [
            "c.yaml:2:9: server.host: must be a host name or an IP address, not ''",
            "c.yaml:3:9: server.port: must be a whole number from 0 to 65535, not true",
            "c.yaml:4:13: server.max_body: must be a size of up to 1GiB, such as 64KiB, 1MiB, 10MB or a number of",
            "c.yaml:5:21: server.shutdown_timeout: must be a duration above 0 and up to 24h, such as 500ms, 2s, 1m, 1h",
        ],
    ),
    "wrong limits of connections": (
        "server: {head_timeout: 0, max_connections: 0, allowed_hosts: [a.org, '*.b.org', '*', 'a:80', '*b.org']}\n",
        [
            "c.yaml:1:24: server.head_timeout: must be a duration above 0 and up to 24h",
            "c.yaml:1:44: server.max_connections: must be a whole number from 1 to 1000000, not 0",
            "c.yaml:1:86: server.allowed_hosts[3]: must be a host name without a port, such as example.com, *.exa",
            "c.yaml:1:94: server.allowed_hosts[4]: must be a host name without a port, such as example.com, *.exa",
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
            "c.yaml:2:20: plugins.a.plugin_type: must be 'external' or 'builtin', not 'extern'",
            "c.yaml:2:34: plugins.a.path: must be a path, absolute or relative to the directory of this file, not 5",
            "c.yaml:2:48: plugins.a.isolation: must be 'none', 'thread' or 'process', not 'vm'",
            "c.yaml:2:61: plugins.a.workers: must be a whole number from 1 to 256, not 0",
            "c.yaml:2:73: plugins.a.timeout: must be a duration above 0 and up to 24h, such as 500ms, 2s, 1m, 1h or a",
            "c.yaml:2:86: plugins.a.config: must be a mapping, not a list",
            "c.yaml:3:3: plugins.b.path: is missing; set the path of the library, or set up plugin_discovery to find",
            "c.yaml:4:35: plugins.c.path: must be the import path of a builtin plugin, such as package.module:Name,",
            "c.yaml:4:54: plugins.c.isolation: must be 'none' or 'thread', not 'process': a builtin plugin is a Python",
            "c.yaml:5:3: plugins[\"d/e\"]: a plugin's name must have 1 to 64 letters, digits, '.', '_' and '-',",
            'c.yaml:5:17: plugins["d/e"].path: must be a path, absolute or relative to the directory of this file, not',
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
            "c.yaml:2:23: plugins.a.queue: must be a whole number from 0 to 100000, not -1",
            "c.yaml:2:41: plugins.a.health_check: must be a duration above 0 and up to 24h, such as 500ms, 2s, 1m, 1h",
            "c.yaml:2:53: plugins.a.breaker: must be false, or a mapping with failures, window, open, probes, not 5",
            "c.yaml:2:66: plugins.a.restart.first: unknown key; expected one of initial, maximum",
            "c.yaml:2:93: plugins.a.start_timeout: must be a duration above 0 and up to 24h, such as 500ms, 2s, 1m, 1h",
            "c.yaml:3:36: plugins.b.breaker.failures: must be a whole number from 1 to 1000, not 0",
            "c.yaml:3:39: plugins.b.breaker.opened: unknown key; did you mean open? Expected one of failures, window,",
            "c.yaml:3:69: plugins.b.limits.memory: must be a size from 16MiB to 65536GiB, such as 512MiB, 2GiB or a",
            "c.yaml:3:85: plugins.b.limits.cpu_time: must be a duration from 1s to 24h in whole seconds, such as 60s,",
            "c.yaml:3:92: plugins.b.limits.files: unknown key; did you mean open_files? Expected one of memory,",
            "c.yaml:4:36: plugins.c.environment[1]: must be the name of an environment variable such as HOME, not 'A",
            "c.yaml:4:41: plugins.c.environment[2]: must be the name of an environment variable such as HOME, not 5",
            "c.yaml:4:53: plugins.c.limits: must be a mapping with memory, cpu_time, open_files, processes and output,",
            "c.yaml:4:66: plugins.c.restart: must be a mapping with initial and maximum, not 'x'",
            "c.yaml:5:35: plugins.d.limits: requires isolation process, but the plugin uses thread; remove it or",
            "c.yaml:5:59: plugins.d.environment: requires isolation process, but the plugin uses thread; remove it or",
            "c.yaml:5:80: plugins.d.restart: requires isolation process, but the plugin uses thread; remove it or",
            "c.yaml:6:29: plugins.e.limits: requires isolation process, but the plugin uses thread; remove it or",
            "c.yaml:6:50: plugins.e.limits.open_files: must be a whole number from 16 to 1048576, not 1",
            "c.yaml:6:54: plugins.e.start_timeout: requires isolation process, but the plugin uses thread; remove it",
            'c.yaml:8:38: endpoints["/a"].retry: must be a whole number from 0 to 10, not 11',
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
            "c.yaml:3:3: endpoints.api: the path must start with '/', not 'api'",
            "c.yaml:4:27: endpoints[\"/a\"].runtime.handler: there is no plugin 'b'; expected one of a, off",
            "c.yaml:5:27: endpoints[\"/b\"].runtime.handler: plugin 'off' is disabled; enable it or remove the",
            'c.yaml:6:3: endpoints["/c"].runtime: is missing; add it, for example runtime: {"type": "plugin",',
            'c.yaml:7:8: endpoints["/d"].runtime.handler: is missing; add it, for example handler: "weather"',
            "c.yaml:7:24: endpoints[\"/d\"].runtime.type: must be 'plugin', not 'lambda'",
            'c.yaml:8:21: endpoints["/e"].methods: method and methods cannot be combined; remove one of them',
            'c.yaml:9:17: endpoints["/f"].methods: must list at least one method; remove methods to use the default,',
            "c.yaml:10:16: endpoints[\"/g\"].method: must be an HTTP method such as GET or POST, not 'G T'",
            "c.yaml:10:29: endpoints[\"/g\"].data: must be 'request' or 'body', not 'xml'",
            'c.yaml:10:43: endpoints["/g"].timeout: must be a duration above 0 and up to 24h, such as 500ms, 2s, 1m,',
            'c.yaml:10:59: endpoints["/g"].description: must be a string that is not empty, not 5',
            'c.yaml:11:23: endpoints["/h"].methods[1]: must be an HTTP method such as GET or POST, not 5',
            'c.yaml:12:6: endpoints["/i"]: must be a mapping with methods, runtime, data, timeout, retry and',
        ],
    ),
}


class TestWrongFiles:
    """Invalid files."""

    @pytest.mark.parametrize("name", WRONG_FILES)
    def test_every_error_has_its_place_and_sentence(self, write: WriteConfig, name: str) -> None:
        """All errors of a file are reported at once, sorted by position, one per line."""
        text, wanted = WRONG_FILES[name]
        errors = errors_of(write(text))

        assert len(errors) == len(wanted), errors
        for error, start in zip(errors, wanted, strict=True):
            assert error.startswith("c.yaml:")
            assert start in error

    @pytest.mark.parametrize("name", [name for name, (text, _) in WRONG_FILES.items() if name != "too large"])
    def test_both_parsers_say_the_same(self, write: WriteConfig, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """Without libyaml, every error is identical."""
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
        """The error of a missing file names it as it was given."""
        assert errors_of("nowhere/x.yaml") == ["nowhere/x.yaml: the file does not exist"]
        assert errors_of(tmp_path) == [f"{tmp_path}: must be a YAML file, not a directory"]

    def test_unreadable(self, write: WriteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file without read permission raises a ConfigError with the system's message."""
        path = write("server:\n")

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)

        assert errors_of(path) == ["c.yaml: cannot read the file: Permission denied"]

    @given(st.text(st.sampled_from(" \n\t-:{}[],&*!|>'\"#$?%@ab1<~"), max_size=60))
    @settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_any_text_is_a_configuration_or_a_config_error(self, write: WriteConfig, text: str) -> None:
        """No text raises anything but a ConfigError whose lines name the file."""
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
            ("/a//b", ", not ''"),
            ("//", ", not ''"),
            ("/a b", ", not 'a b'"),
            ("/a/../b", ", not '..'"),
            ("/a?b", ", not 'a?b'"),
            ("/{a", ", not '{a'"),
            ("/x{a}", ", not 'x{a}'"),
            ("/{a:path}", ", not '{a:path}'"),
            ("/{}", ", not '{}'"),
            ("/{1a}", ", not '{1a}'"),
            ("/{a}/{a}", "the path uses the parameter {a} more than once"),
            *((path, "choose another path") for path in RESERVED_PATHS),
        ],
    )
    def test_refused(self, path: str, sentence: str) -> None:
        """A path that no request can match, or that the server reserves, is rejected."""
        [error] = dict_errors({"plugins": {"a": {"path": "a"}}, "endpoints": {path: {"runtime": {"handler": "a"}}}})

        assert error.startswith(f"endpoints[{json.dumps(path)}]: ")
        assert sentence in error

    @pytest.mark.parametrize("path", ["/", "/a", "/a/", "/a/{b}/c.d-e_f~", "/{a}/{b}", "/é", "/docs/x"])
    def test_accepted(self, path: str) -> None:
        """A path may combine literal segments and parameters."""
        endpoints = {path: {"runtime": {"handler": "a"}}}

        assert path in parse_config({"plugins": {"a": {"path": "a"}}, "endpoints": endpoints}).endpoints

    def test_two_that_match_the_same(self) -> None:
        """Two paths that differ only in the names of their parameters are rejected."""
        endpoint = {"runtime": {"handler": "a"}}
        errors = dict_errors({"plugins": {"a": {"path": "a"}}, "endpoints": {"/x/{a}": endpoint, "/x/{b}": endpoint}})

        assert errors == ["endpoints[\"/x/{b}\"]: matches the same requests as endpoint '/x/{a}'; remove one of them"]


class TestDict:
    """A configuration without a file."""

    def test_errors_have_the_path_only(self) -> None:
        """Without a file, a line starts with the path of the value."""
        assert dict_errors({"server": {"prot": 1}}) == [
            (
                "server.prot: unknown key; did you mean port? "
                "Expected one of host, port, max_body, workers, shutdown_timeout, head_timeout, body_timeout, "
                "keep_alive_timeout, max_connections, allowed_hosts"
            )
        ]

    @pytest.mark.parametrize("value", [math.nan, math.inf, object(), {1, 2}, b"x"])
    def test_what_json_cannot_carry(self, value: object) -> None:
        """A plugin's configuration is rejected if JSON cannot represent it."""
        [error] = dict_errors({"plugins": {"a": {"path": "a", "config": {"x": [value]}}}})

        assert error.startswith("plugins.a.config: must be ")
        assert "JSON can" in error

    def test_a_circle(self) -> None:
        """A dict that contains itself is an error, not an infinite loop."""
        circle: dict[str, Any] = {}
        circle["plugins"] = circle

        assert dict_errors(circle) == ["the configuration nests more than 64 levels deep"]

    def test_no_mapping(self) -> None:
        """Anything but a mapping raises a TypeError."""
        with pytest.raises(TypeError, match="the configuration must be a mapping, not list"):
            parse_config([])  # type: ignore[arg-type]


class TestSchema:
    """The JSON Schema for editors."""

    def test_it_is_a_schema_with_words(self) -> None:
        """The schema is valid under 2020-12 and describes every field."""
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
        """The documented example, including its variables, is valid under the schema."""
        data = yaml.load(FULL.replace("port: 9000", "port: '${PORT:-9000}'"), Loader=yaml.BaseLoader)
        data["plugins"]["weather"] |= {"enabled": True, "workers": 2, "critical": False}
        data["plugin_discovery"] |= {"enabled": True, "recursive": False}

        assert [*jsonschema.Draft202012Validator(config_schema()).iter_errors(data)] == []

    @pytest.mark.parametrize("breaker", [False, True, {}, {"failures": 3, "open": "5s"}])
    def test_it_knows_supervision(self, breaker: object) -> None:
        """Limits, restarts and both forms of a breaker are valid under the schema."""
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
        """The schema rejects what loading rejects."""
        assert not jsonschema.Draft202012Validator(config_schema()).is_valid(data)


SCHEMA = """"config_schema": {
  "type": "object", "additionalProperties": false, "required": ["reports"],
  "properties": {"reports": {"type": "string"}, "limit": {"type": "integer"}, "key": {"maxLength": 3}}}"""


@pytest.fixture(scope="module", name="picky")
def _picky(compile_plugin: CompilePlugin) -> Path:
    """A plugin whose manifest has a configuration schema."""
    source = ECHO.replace('"description": "Answers what it was sent"', SCHEMA)
    return compile_plugin(source, name="picky", flags=['-DNAME="picky"'])


class TestDump:
    """Writing a configuration as YAML."""

    def test_it_reads_as_the_same(self, write: WriteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
        """The output loads as the same configuration, and secrets stay variables."""
        monkeypatch.setenv("WEATHER_API_KEY", "hush-hush")
        config = load_config(write(FULL))
        text = config_yaml(config, absolute_plugin_configs(config))
        again = load_config(write(text))

        assert again.model_dump() == config.model_dump()
        assert "hush-hush" not in text
        assert 'api_key: "${WEATHER_API_KEY}"' in text

    @pytest.mark.parametrize("isolation", ["none", "thread", "process"])
    @pytest.mark.parametrize("breaker", [False, True])
    def test_supervision(self, write: WriteConfig, isolation: str, breaker: bool) -> None:
        """Settings of worker processes are omitted for other isolations; a breaker that is off stays off."""
        data = {"plugins": {"a": {"path": "/a", "isolation": isolation, "breaker": breaker, "health_check": None}}}
        config = parse_config(data)
        again = load_config(write(config_yaml(config, absolute_plugin_configs(config))))

        assert again.model_dump() == config.model_dump()

    @pytest.mark.parametrize("text", ["yes", "12", "1e3", "0o17", "", "null", "~", "a: b", "- a", "é\n", "=", ".inf"])
    def test_text_stays_text(self, write: WriteConfig, text: str) -> None:
        """A string that YAML would read as another type is quoted."""
        config = parse_config({"plugins": {"a": {"path": "a", "config": {text: text}}}})

        assert load_config(write(config_yaml(config, absolute_plugin_configs(config)))).plugins["a"].config == {
            text: text
        }


class TestPlugins:
    """Checks of a configuration against the plugins' files."""

    def test_schema_errors_have_places(self, write: WriteConfig, picky: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A violation of a plugin's own schema is reported with its position, and no secret is shown."""
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
            "c.yaml:4:5: plugins.one.config: the plugin's schema rejects the value of '${KEY}'",
            "c.yaml:4:21: plugins.one.config.limit: 'many' is not of type 'integer'",
            "c.yaml:4:32: plugins.one.config.key: the plugin's schema rejects the value of '${KEY}'",
        ]

    def test_libraries_that_will_not_load(self, write: WriteConfig, picky: Path) -> None:
        """Missing and invalid files are reported at their paths; plugins that are not critical form a separate list."""
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
        assert "the file does not exist" in library_errors[0]
        assert library_errors[1].startswith("c.yaml:4:16: plugins.text.path: ")
        assert "the file starts with 'hello'" in library_errors[1]

    def test_discovered(self, write: WriteConfig, picky: Path) -> None:
        """Discovery supplies plugins without a path, and their configuration is checked as well."""
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
            ("c.yaml:4:3: plugins.pickyy: plugin_discovery finds no plugin 'pickyy'; did you mean picky?")
        ]
        assert settings_errors == [
            "c.yaml:3:29: plugins.picky.config.reports: 5 is not of type 'string'; quote the value if it is text",
            (
                "c.yaml:7:27: endpoints[\"/b\"].runtime.handler: plugin_discovery finds no plugin 'piky'; "
                "did you mean picky?"
            ),
        ]


def test_warnings(write: WriteConfig) -> None:
    """A timeout that the host cannot enforce is allowed, with a warning that names its position."""
    config = load_config(
        write("""\
            plugins: {a: {path: a, isolation: none, timeout: 1s}, b: {path: b, isolation: none}}
            endpoints:
              /a: {timeout: 1s, runtime: {handler: b}}
              /b: {runtime: {handler: a}}
            """)
    )

    assert [line.split(":", 4)[:4] for line in warnings_of(config)] == [
        ["c.yaml", "1", "50", " plugins.a.timeout"],
        ["c.yaml", "3", "17", ' endpoints["/a"].timeout'],
    ]


def test_a_thousand_endpoints_are_read_in_a_moment(write: WriteConfig) -> None:
    """A file of a thousand endpoints is within all limits."""
    lines = "".join(f"  /api/{i}/{{x}}: {{method: GET, runtime: {{handler: a}}}}\n" for i in range(1000))

    assert len(load_config(write(PLUGIN + "endpoints:\n" + lines)).endpoints) == 1000


def test_probable_mistakes(write: WriteConfig) -> None:
    """A plugin without an endpoint, a method that is not standard, and a file without endpoints are warnings."""
    some = load_config(
        write("plugins: {a: {path: a}, b: {path: b}}\nendpoints: {/a: {method: GTE, runtime: {handler: b}}}\n")
    )
    none = load_config(write("plugins: {a: {path: a}}\n"))

    assert warnings_of(some) == [
        "c.yaml:1:11: plugins.a: no endpoint uses the plugin",
        (
            "c.yaml:2:13: endpoints[\"/a\"]: 'GTE' is not a standard HTTP method; did you mean GET? "
            "Expected one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE"
        ),
    ]
    assert warnings_of(none) == ["c.yaml:1:1: endpoints: there are no endpoints, so a server has nothing to serve"]


def test_extensions(write: WriteConfig) -> None:
    """Top-level keys that start with x- hold anchors; an error in one is reported where the file uses it."""
    config = load_config(
        write("x-all: &all {path: ./a, workers: 2}\nx-more: [1]\nplugins: {a: *all, b: {<<: *all, workers: 3}}\n")
    )

    assert [plugin.workers for plugin in config.plugins.values()] == [2, 3]
    with pytest.raises(ConfigError) as caught:
        load_config(write("x-all: &all {path: ./a, workers: 0}\nx-unused: ${NOT_SET}\nplugins: {a: *all}\n"))
    assert len(caught.value.errors) == 1
    assert "plugins.a.workers: must be a whole number" in caught.value.errors[0]


def test_one_line_per_problem() -> None:
    """A line feed or an escape sequence in a value cannot forge a second line."""
    with pytest.raises(ConfigError) as caught:
        parse_config({"plugins": {"a\nb": {"path": "\x1b[2J\n"}, "c": {"path": "x\ty"}}})

    assert not any(set("\n\x1b\t") & set(line) for line in caught.value.errors)


def test_huge_numbers_of_a_program() -> None:
    """A number that Python cannot print or JSON readers cannot read is one sentence."""
    with pytest.raises(ConfigError) as caught:
        parse_config({"server": {"port": 10**6000}, "plugins": {"a": {"path": "a", "config": {"x": 10**400}}}})

    text = str(caught.value)
    assert "server.port: must be a whole number from 0 to 65535, not a number with more than 80 digits" in text
    assert "plugins.a.config: must be a number that JSON can represent" in text


STRICT = """"config_schema": {"type": "object", "additionalProperties": false, "properties": {
  "pin": {"type": "string"}, "count": {"type": "integer"}, "either": {"type": ["string", "integer"]},
  "list": {"type": "array", "items": {"type": "string"}}, "file": {"type": "string", "format": "path"},
  "greeting": {"type": "string", "default": "Hello"},
  "deep": {"type": "object", "default": {}, "properties": {"level": {"type": "integer", "default": 3}}}}}"""


@pytest.fixture(scope="module", name="strict")
def _strict(compile_plugin: CompilePlugin) -> Path:
    """A plugin whose schema has types, a path and defaults, and whose init fails with its configuration."""
    source = ECHO.replace('"description": "Answers what it was sent"', STRICT).replace(
        "  (void)config;\n",
        '  if (config_size != 0) { return backworks_fail(error, 3, "%.*s", (int)config_size, config); }\n',
    )
    return compile_plugin(source, name="strict", flags=['-DNAME="strict"'])


class TestPluginConfig:
    """What a plugin receives of its configuration."""

    def received(self, file: Path) -> dict[str, Any]:
        """Returns the configuration that the plugin received."""
        with PluginManager.from_config(file) as manager:
            text = str(manager.failed["strict"])
        found: dict[str, Any] = json.loads(text[text.index("{") : text.rindex("}") + 1])
        return found

    def test_variables_are_text_where_the_schema_says_so(
        self, write: WriteConfig, strict: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An unquoted variable keeps its text where the schema requires a string, and is a value elsewhere."""
        for name, value in {"PIN": "007", "KEY": "1e5", "EMPTY": "", "COUNT": "12", "HASH": "4225e948"}.items():
            monkeypatch.setenv(name, value)
        file = write(f"""\
            plugins:
              strict:
                path: {strict}
                critical: false
                config:
                  pin: ${{PIN}}
                  count: ${{COUNT}}
                  either: ${{COUNT}}
                  list:
                  - ${{KEY}}
                  - ${{EMPTY}}
                  - ${{HASH}}
                  - ${{UNSET:-none}}
            """)

        assert check_plugins(load_config(file)).settings == []
        assert self.received(file) == {
            "pin": "007",
            "count": 12,
            "either": 12,
            "list": ["1e5", "", "4225e948", "none"],
            "greeting": "Hello",
            "deep": {"level": 3},
        }

    def test_defaults(self, write: WriteConfig, strict: Path) -> None:
        """Defaults fill absent values of the configuration and of objects in it; they replace nothing."""
        file = write(f"""\
            plugins: {{strict: {{path: {strict}, critical: false, config: {{greeting: Hi, deep: {{}}}}}}}}
            """)

        assert self.received(file) == {"greeting": "Hi", "deep": {"level": 3}}

    def test_unquoted_text(self, write: WriteConfig, strict: Path) -> None:
        """A number where the schema requires text gets a hint at quotes; an absent file is only a warning."""
        checked = check_plugins(
            load_config(write(f"plugins: {{strict: {{path: {strict}, config: {{pin: 007, file: ./absent.txt}}}}}}\n"))
        )

        assert len(checked.settings) == len(checked.absent) == 1
        assert (
            "plugins.strict.config.pin: 7 is not of type 'string'; quote the value if it is text" in checked.settings[0]
        )
        assert "plugins.strict.config.file: there is no file " in checked.absent[0]
        assert "absent.txt" in checked.absent[0]

    def test_shown_paths(self, write: WriteConfig, strict: Path, tmp_path: Path) -> None:
        """A configuration that is written out has absolute paths in the plugins' own configurations as well."""
        config = load_config(write(f"plugins: {{strict: {{path: {strict}, config: {{file: ./a.txt, pin: ./b}}}}}}\n"))
        written = config_data(config, absolute_plugin_configs(config))["plugins"]["strict"]["config"]

        assert written == {"file": str(tmp_path / "a.txt"), "pin": "./b"}

    def test_editors(self, write: WriteConfig, strict: Path) -> None:
        """The schema for editors knows discovered plugins, the slash of endpoints, methods, and extensions."""
        schema = config_schema()
        add_plugin_schemas(schema, load_config(write(f"plugin_discovery: {{directories: [{strict.parent}]}}\n")))
        validator = jsonschema.Draft202012Validator(schema)
        runtime = {"runtime": {"handler": "strict"}}
        good: dict[str, Any] = {
            "x-defaults": {"a": 1},
            "plugins": {"strict": {"config": {"count": 1}}},
            "endpoints": {
                "/a": {"method": "get", **runtime},
                "/b": {"methods": ["GET", "X-Y"], **runtime},
                "/c": {"method": "${M}", **runtime},
            },
        }
        bad: list[dict[str, Any]] = [
            {"plugins": {"strict": {"config": {"count": "x"}}}},
            {"endpoints": {"a": runtime}},
            {"endpoints": {"/a": {"method": "A B", **runtime}}},
            {"endpoints": {"/a": {"methods": ["A B"], **runtime}}},
        ]

        assert [*validator.iter_errors(good)] == []
        assert not any(validator.is_valid(each) for each in bad)
        assert "GET" in json.dumps(schema["$defs"]["EndpointConfig"]["properties"]["method"])


class TestBuiltinModules:
    """Builtin plugins whose module is beside the configuration."""

    @pytest.fixture(autouse=True)
    def _path(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        known = {*sys.modules}
        monkeypatch.setattr(sys, "path", [*sys.path])
        yield
        for name in {*sys.modules} - known:
            if name.startswith("beside_"):
                del sys.modules[name]

    def config(self, write: WriteConfig, path: str, code: str) -> Path:
        """Writes a module and a configuration that names an object in it."""
        Path("beside_module.py").write_text(code)
        Path("beside_package").mkdir()
        Path("beside_package/part.py").write_text(code)
        return write(f"plugins: {{b: {{plugin_type: builtin, path: '{path}', critical: false}}}}\n")

    @pytest.mark.parametrize("path", ["beside_module:Echo", "beside_package.part:Echo", "beside_module:Outer.Echo"])
    def test_found(self, write: WriteConfig, path: str) -> None:
        """The directory of the file is searched, by the check as well, which imports nothing."""
        code = """\
class Echo:
    name, version = "echo", "1.0.0"

    def process_endpoint_data(self, endpoint, method, data):
        return data

class Outer:
    Echo = Echo
"""
        file = self.config(write, path, code)
        checked = check_plugins(load_config(file))

        assert checked.left_out == []
        assert not any(name.startswith("beside_") for name in sys.modules)
        with PluginManager.from_config(file) as manager:
            assert manager.process_endpoint_data("b", "/", "GET", "x") == "x"

    @pytest.mark.parametrize("path", ["beside_absent:Echo", "beside_package.absent:Echo", "beside_module.part:Echo"])
    def test_absent(self, write: WriteConfig, path: str) -> None:
        """The check reports a module that does not exist."""
        checked = check_plugins(load_config(self.config(write, path, "")))

        assert len(checked.left_out) == 1
        assert f"plugins.b.path: there is no module '{path.partition(':')[0]}'" in checked.left_out[0]

    @pytest.mark.parametrize(
        ("code", "text"),
        [
            (
                "class Echo:\n  name = version = '1.0.0'\n  async def process_endpoint_data(self, *_): ...\n",
                "is async, but",
            ),
            ("class Echo: ...\n", "it must have an attribute 'name' of type str"),
            (
                "class Echo:\n  def __init__(self): raise KeyError('x')\n",
                "cannot import 'beside_module:Echo': KeyError",
            ),
            ("1 / 0\n", "cannot import 'beside_module:Echo': ZeroDivisionError: division by zero"),
            ("def\n", "cannot import 'beside_module:Echo': SyntaxError"),
        ],
    )
    def test_broken(self, write: WriteConfig, code: str, text: str) -> None:
        """A Python object that cannot be a plugin is one sentence, and the host starts without it."""
        with PluginManager.from_config(self.config(write, "beside_module:Echo", code)) as manager:
            assert text in str(manager.failed["b"])
