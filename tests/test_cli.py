"""The command ``backworks``, run as a process: what it prints, where, and its exit codes."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import ECHO, LIBRARY, PATIENCE, CompilePlugin

import backworks
from backworks import sdk

ROOT = Path(__file__).parent.parent

#: A plugin whose response depends on the endpoint.
SOURCE = ECHO.replace(
    "  return backworks_answer(response, request->data, request->data_size);",
    """
  if (backworks_equal(request->endpoint, request->endpoint_size, "/none")) {
    return BACKWORKS_OK;
  }
  if (backworks_equal(request->endpoint, request->endpoint_size, "/fail")) {
    return backworks_fail(response, BACKWORKS_NOT_FOUND, "no station %s", "KXYZ");
  }
  if (backworks_equal(request->endpoint, request->endpoint_size, "/method")) {
    return backworks_answer(response, request->method, request->method_size);
  }
  if (backworks_equal(request->endpoint, request->endpoint_size, "/hang")) {
    backworks_log(plugin->host, BACKWORKS_INFO, "inside");
    (void)getchar();
  }
  return backworks_answer(response, request->data, request->data_size);""",
).replace(
    '"description": "Answers what it was sent"',
    '"description": "Answers", "config_schema": {"properties": {"limit": {"type": "integer"}}}',
)

posix_only = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has neither terminals nor signals of this kind"
)


@pytest.fixture(scope="module", name="library")
def _library(compile_plugin: CompilePlugin) -> Path:
    return compile_plugin("#include <stdio.h>\n" + SOURCE, name="various", flags=['-DNAME="various"'])


def start(*arguments: str | Path, cwd: Path | None = None, **options: Any) -> subprocess.Popen[bytes]:
    """Starts the command."""
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-m", "backworks", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "COLUMNS": "100"},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options},
    )


def run(*arguments: str | Path, cwd: Path | None = None, stdin: bytes = b"") -> tuple[int, str, str]:
    """Runs the command and waits for it.

    Returns:
        The exit code, and what it wrote to stdout and stderr.
    """
    process = start(*arguments, cwd=cwd, stdin=subprocess.PIPE)
    try:
        out, err = process.communicate(stdin, PATIENCE)
    finally:
        process.kill()
    # With -X dev asyncio logs slow steps, which depend on the machine.
    told = re.sub(r"^Executing <.* took [\d.]+ seconds\n", "", err.decode().replace("\r\n", "\n"), flags=re.MULTILINE)
    return process.returncode, out.decode().replace("\r\n", "\n"), told


@pytest.fixture(name="config")
def _config(tmp_path: Path, library: Path) -> Path:
    """A valid configuration in a separate directory."""
    file = tmp_path / "c.yaml"
    text = f"""\
server: {{port: 0}}
plugins:
  one: {{path: '{library}', config: {{limit: 1}}}}
endpoints:
  /x: {{runtime: {{handler: one}}}}
"""
    file.write_text(text, encoding="utf-8")
    return file


class TestMain:
    """The command itself."""

    def test_help(self) -> None:
        """The help lists the commands and exit codes, and explains how to enable completion."""
        code, out, err = run("--help")

        assert (code, err) == (0, "")
        for word in (
            "serve",
            "config",
            "plugin",
            "sdk",
            "Exit codes:",
            "invalid configuration",
            "_BACKWORKS_COMPLETE=",
        ):
            assert word in out

    @pytest.mark.parametrize(
        "command",
        [
            "serve",
            "config",
            "config check",
            "config schema",
            "config show",
            "plugin",
            "plugin new",
            "plugin build",
            "plugin dev",
            "plugin list",
            "plugin inspect",
            "plugin call",
            "plugin bench",
            "sdk",
            "sdk path",
        ],
    )
    def test_every_command_has_help(self, command: str) -> None:
        """Each command has help, and its summary is not cut off in the list."""
        code, out, _ = run(*command.split(), "--help")

        assert code == 0
        assert out.startswith(f"Usage: backworks {command}")
        assert "\\b" not in out  # click's mark for lines that it must not wrap
        assert "..." not in out.replace("]...", "").replace("[ARGS]...", "").replace("ARGS...", "")

    def test_version(self) -> None:
        """The version is the package's."""
        assert run("--version") == (0, f"backworks, version {backworks.__version__}\n", "")

    def test_wrong_use(self) -> None:
        """A usage error exits with 2 and click's hint."""
        code, out, err = run("plugin", "cal")

        assert (code, out) == (2, "")
        assert "No such command 'cal'" in err

    def test_it_is_the_installed_command(self) -> None:
        """pyproject.toml installs the same function as the command."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

        assert project["scripts"] == {"backworks": "backworks.__main__:main"}

    def test_it_imports_little(self) -> None:
        """Heavy modules are imported by the commands that need them, not by the command line itself."""
        heavy = ["yaml", "pydantic", "jsonschema", "rich", "uvicorn", "starlette", "cffi", "asyncio"]
        if sys.platform != "win32":  # there click itself needs it
            heavy.append("ctypes")
        code = f"import sys, backworks.cli; print([name for name in {heavy} if name in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

        assert done.stdout.strip() == "[]"

    @posix_only
    def test_closed_pipe(self) -> None:
        """Output to a closed pipe ends the command without a message."""
        read, write = os.pipe()
        os.close(read)
        process = start("config", "schema", stdout=write)
        os.close(write)
        _, err = process.communicate(timeout=PATIENCE)

        assert (process.returncode, err) == (141, b"")

    @posix_only
    @pytest.mark.parametrize("closed", ["0<&-", ">&-", "2>&-", ">&- 2>&-"])
    @pytest.mark.parametrize(
        "arguments", ["plugin call LIBRARY /echo --data hello", "config check c.yaml", "--version"]
    )
    def test_closed_streams(self, library: Path, config: Path, closed: str, arguments: str) -> None:
        """A standard stream that is closed swallows its output, and nothing else fails."""
        words = shlex.join([sys.executable, "-m", "backworks", *arguments.replace("LIBRARY", str(library)).split()])
        command = ["sh", "-c", f"{words} {closed}"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=config.parent, env=environment, capture_output=True, text=True, check=False)

        assert (done.returncode, done.stderr) == (0, "")
        assert bool(done.stdout) is (">&-" not in closed.replace("2>&-", ""))

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a file that is always full")
    def test_full_disk(self, library: Path) -> None:
        """Output that cannot be written is one line, and the exit code says so."""
        with Path("/dev/full").open("wb") as full:
            process = start("plugin", "inspect", library, stdout=full)
            _, err = process.communicate(timeout=PATIENCE)

        assert (process.returncode, err) == (1, b"backworks: cannot write the output: No space left on device\n")

    @posix_only
    @pytest.mark.parametrize("arguments", ["config check c.yaml", "plugin test", "plugin list", "plugin build"])
    def test_deleted_directory(self, tmp_path: Path, arguments: str) -> None:
        """In a directory that was deleted, a command is one line."""
        gone = tmp_path / "gone"
        gone.mkdir()
        words = shlex.join([sys.executable, "-m", "backworks", *arguments.split()])
        done = subprocess.run(
            ["sh", "-c", f"rmdir ../gone && exec {words}"],
            cwd=gone,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

        assert done.returncode in (2, 3, 5)
        assert "Traceback" not in done.stderr
        assert done.stderr.strip()

    def test_completion(self, tmp_path: Path) -> None:
        """Shell completion offers the commands."""
        variables = {"_BACKWORKS_COMPLETE": "bash_complete", "COMP_WORDS": "backworks pl", "COMP_CWORD": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "backworks"],
            env={**os.environ, **variables, "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )

        assert done.stdout == "plain,plugin\n"


class TestConfig:
    """``backworks config``."""

    def test_check_good(self, config: Path) -> None:
        """A valid configuration prints one line and exits with 0."""
        assert run("config", "check", "c.yaml", cwd=config.parent) == (
            0,
            "c.yaml: OK (1 plugin, 1 endpoint)\n",
            "",
        )

    def test_check_bad(self, config: Path) -> None:
        """Every error is a line on stderr, and the exit code is 3."""
        config.write_text("server: {prot: 1}\nendpoints: {x: {}}\n", encoding="utf-8")
        code, out, err = run("config", "check", "c.yaml", cwd=config.parent)

        assert (code, out) == (3, "")
        assert [line.split(" ", 2)[:2] for line in err.splitlines()] == [
            ["backworks:", "c.yaml:1:10:"],
            ["backworks:", "c.yaml:2:13:"],
            ["backworks:", "c.yaml:2:13:"],
        ]

    def test_check_missing(self, tmp_path: Path) -> None:
        """A missing file also exits with 3."""
        assert run("config", "check", "c.yaml", cwd=tmp_path) == (3, "", "backworks: c.yaml: the file does not exist\n")

    def test_check_asks_the_plugins(self, config: Path) -> None:
        """A value that a plugin's schema rejects exits with 3; an unloadable library alone exits with 4."""
        good = config.read_text(encoding="utf-8")
        config.write_text(good.replace("limit: 1", "limit: many"), encoding="utf-8")
        code, _, err = run("config", "check", "c.yaml", cwd=config.parent)

        assert code == 3
        assert err == "backworks: c.yaml:3:" + err.partition("c.yaml:3:")[2]
        assert "plugins.one.config.limit: 'many' is not of type 'integer'" in err

        config.write_text("plugins: {one: {path: ./gone}}\n", encoding="utf-8")
        code, _, err = run("config", "check", "c.yaml", cwd=config.parent)

        assert code == 4
        assert "backworks: warning: c.yaml:1:1: endpoints: there are no endpoints" in err
        assert "backworks: c.yaml:1:23: plugins.one.path: " in err
        assert "the file does not exist" in err

    def test_check_warns(self, config: Path) -> None:
        """A setting that is valid but probably a mistake is a warning, and the exit code stays 0."""
        text = config.read_text(encoding="utf-8").replace("config:", "isolation: none, timeout: 1s, config:")
        config.write_text(text, encoding="utf-8")
        code, _, err = run("config", "check", "c.yaml", cwd=config.parent)

        assert code == 0
        assert err.startswith("backworks: warning: c.yaml:3:")

    def test_check_for_programs(self, config: Path) -> None:
        """--json prints whether the configuration is good, the errors and the warnings; the exit code is the same."""
        code, out, err = run("config", "check", "c.yaml", "--json", cwd=config.parent)
        assert (code, err) == (0, "")
        assert json.loads(out) == {"file": "c.yaml", "ok": True, "errors": [], "warnings": []}

        config.write_text("plugins: {one: {path: ./gone, pathh: x}}\n", encoding="utf-8")
        code, out, err = run("config", "check", "c.yaml", "--json", cwd=config.parent)
        assert (code, err) == (3, "")
        assert "pathh: unknown key; did you mean path?" in json.loads(out)["errors"][0]

        config.write_text("plugins: {one: {path: ./gone}}\n", encoding="utf-8")
        code, out, err = run("config", "check", "c.yaml", "--json", cwd=config.parent)
        assert (code, err) == (4, "")
        assert len(json.loads(out)["errors"]) == len(json.loads(out)["warnings"]) == 1

    def test_schema(self) -> None:
        """The JSON Schema goes to stdout."""
        code, out, _ = run("config", "schema")

        assert code == 0
        assert json.loads(out)["title"] == "Backworks configuration"

    def test_schema_of_plugins(self, library: Path, tmp_path: Path) -> None:
        """With a configuration, the schema covers what its plugins accept; missing plugins accept anything."""
        file = tmp_path / "c.yaml"
        plugins = {"one": {"path": str(library)}, "gone": {"path": "./gone"}}
        file.write_text(json.dumps({"plugins": plugins}), encoding="utf-8")
        code, out, _ = run("config", "schema", file)
        validator = jsonschema.Draft202012Validator(json.loads(out))

        assert code == 0
        for plugin_id, good in (("one", False), ("gone", True)):
            settings = plugins[plugin_id] | {"config": {"limit": "many"}}
            assert validator.is_valid({"plugins": {plugin_id: settings}}) is good
            assert validator.is_valid({"plugins": {plugin_id: plugins[plugin_id] | {"config": {"limit": 3}}}})

    def test_show(self, config: Path) -> None:
        """A configuration is shown with its defaults, as JSON or as YAML that is valid again."""
        code, out, _ = run("config", "show", config)
        as_json = json.loads(run("config", "show", "--json", config)[1])
        config.write_text(out, encoding="utf-8")

        assert code == 0
        assert as_json["plugins"]["one"]["timeout"] == 30
        assert "timeout: 30.0" in out
        assert run("config", "check", config)[0] == 0


class TestList:
    """``backworks plugin list``."""

    def test_directory(self, library: Path) -> None:
        """Without a terminal, the plugins of a directory are a table with plain columns."""
        code, out, err = run("plugin", "list", library.parent)
        head, row = out.splitlines()

        assert (code, err) == (0, "")
        assert head.split() == ["NAME", "VERSION", "PLATFORM", "STATUS", "FILE"]
        assert row.split()[:2] == ["various", "1.0.0"]
        assert row.split()[-2:] == ["OK", str(library)]

    def test_current_directory(self, library: Path) -> None:
        """Without an argument, the current directory is listed."""
        assert str(library) in run("plugin", "list", cwd=library.parent)[1]

    def test_nothing(self, tmp_path: Path) -> None:
        """A directory without plugins is reported on stderr."""
        assert run("plugin", "list", cwd=tmp_path) == (0, "", "backworks: no plugins found in the current directory\n")

    def test_json(self, library: Path, config: Path) -> None:
        """JSON includes broken plugins, and marks the one in use of two with the same name."""
        (config.parent / LIBRARY.format("broken")).write_bytes(b"x")
        (config.parent / LIBRARY.format("copy")).write_bytes(library.read_bytes())
        code, out, _ = run("plugin", "list", "--json", config, config.parent)
        found = json.loads(out)

        assert code == 0
        assert [(each["name"], each["used"], each["loadable"]) for each in found] == [
            ("broken", True, False),
            ("various", True, True),
            ("various", False, True),
        ]
        assert found[0]["problems"] == ["not a library: the file starts with 'x'"]
        assert (found[1]["path"], found[1]["version"]) == (str(library), "1.0.0")

    def test_missing_plugins_of_a_configuration(self, tmp_path: Path) -> None:
        """A configured file that does not exist is listed with the reason."""
        (tmp_path / "c.yaml").write_text("plugins: {one: {path: gone}}\n", encoding="utf-8")
        code, out, _ = run("plugin", "list", "c.yaml", cwd=tmp_path)

        assert code == 0
        assert "no such file" in out

    def test_wrong_places(self, tmp_path: Path) -> None:
        """A place that does not exist is a usage error; a file that is not a configuration is an invalid one."""
        (tmp_path / "x").write_text("- a", encoding="utf-8")

        assert run("plugin", "list", "nowhere", cwd=tmp_path)[0] == 2
        assert run("plugin", "list", "x", cwd=tmp_path)[0] == 3

    @posix_only
    def test_on_a_terminal(self, library: Path) -> None:
        """On a terminal the table fits its width, and nothing is cut off."""
        out = on_terminal("plugin", "list", library.parent)

        assert "─" in out
        assert library.name in "".join(out.split())


class TestInspect:
    """``backworks plugin inspect``."""

    def test_good(self, library: Path) -> None:
        """A plugin's file is described without loading it."""
        code, out, err = run("plugin", "inspect", library)

        assert (code, err) == (0, "")
        for line in ("name      various", "version   1.0.0", "about     Answers", "abi       1"):
            assert line in out.splitlines()
        assert "\nsymbols   abi_version, name, version, init, process_endpoint_data, free_string, shutdown" in out
        assert '"config_schema": {' in out

    def test_json(self, library: Path) -> None:
        """JSON includes all symbols and the SHA-256."""
        code, out, _ = run("plugin", "inspect", "--json", library.with_name("various"))
        found = json.loads(out)

        assert code == 0
        assert (found["name"], found["abi"], found["loadable"]) == ("various", 1, True)
        assert found["manifest"]["version"] == "1.0.0"
        assert "backworks_plugin_init" in found["symbols"]
        assert len(found["sha256"]) == 64

    @posix_only
    def test_large_file(self, tmp_path: Path) -> None:
        """Of a file that is not a library, only the beginning is read."""
        (tmp_path / "x.so").touch()
        os.truncate(tmp_path / "x.so", 1 << 40)
        code, out, err = run("plugin", "inspect", "--json", "x.so", cwd=tmp_path)

        assert (code, json.loads(out)["sha256"]) == (4, None)
        assert "the limit for a library" in err

    def test_it_would_not_load(self, tmp_path: Path) -> None:
        """Every reason is a line on stderr, and the exit code is 4."""
        (tmp_path / "x.so").write_text("hello\n")
        code, out, err = run("plugin", "inspect", "x.so", cwd=tmp_path)

        assert code == 4
        assert out.startswith("file      ")
        assert err == f"backworks: {tmp_path / 'x.so'}: not a library: the file starts with 'hello'\n"
        assert run("plugin", "inspect", "--json", "x.so", cwd=tmp_path)[0] == 4

    def test_missing(self, tmp_path: Path) -> None:
        """A file that does not exist exits with 4."""
        code, out, err = run("plugin", "inspect", "gone", cwd=tmp_path)

        assert (code, out) == (4, "")
        assert err.startswith(f"backworks: {tmp_path / 'gone'}: the file does not exist")
        assert len(err.splitlines()) == 1


class TestCall:
    """``backworks plugin call``."""

    @pytest.mark.parametrize("isolation", ["none", "thread"])
    def test_bytes_come_as_they_are(self, library: Path, isolation: str) -> None:
        """The response is printed unchanged, without a newline; the data may come from stdin."""
        data = bytes(range(256))
        process = start(
            "plugin", "call", library, "/echo", "--data", "-", "--isolation", isolation, stdin=subprocess.PIPE
        )
        out, err = process.communicate(data, PATIENCE)

        assert (process.returncode, out, err) == (0, data, b"")

    def test_data(self, library: Path, tmp_path: Path) -> None:
        """Data is text or the bytes of a file, and empty by default."""
        (tmp_path / "d").write_bytes(b"from a file")

        assert run("plugin", "call", library, "/echo", "--data", "héllo")[1] == "héllo"
        assert run("plugin", "call", library, "/echo", "--data", "@d", cwd=tmp_path)[1] == "from a file"
        assert run("plugin", "call", library, "/echo") == (0, "", "")

    def test_method(self, library: Path) -> None:
        """The method is GET, POST with data, or the one given."""
        assert run("plugin", "call", library, "/method")[1] == "GET"
        assert run("plugin", "call", library, "/method", "--data", "x")[1] == "POST"
        assert run("plugin", "call", library, "/method", "--data", "x", "--method", "put")[1] == "PUT"

    def test_the_plugin_fails(self, library: Path) -> None:
        """An error from the plugin is a line with its code and exits with 1; so does a plugin without an answer."""
        assert run("plugin", "call", library, "/fail") == (1, "", "backworks: various: NOT_FOUND: no station KXYZ\n")
        assert run("plugin", "call", library, "/none") == (1, "", "backworks: various has no answer for GET /none\n")

    def test_config(self, library: Path, tmp_path: Path) -> None:
        """A configuration that the plugin's schema rejects exits with 3; one that is not a JSON object, with 2."""
        (tmp_path / "c.json").write_text('{"limit": "many"}')

        assert run("plugin", "call", library, "/echo", "--config", '{"limit": 1}')[0] == 0
        assert run("plugin", "call", library, "/echo", "--config", "@c.json", cwd=tmp_path)[0] == 3
        for wrong in ("{", "[]", "@gone"):
            code, _, err = run("plugin", "call", library, "/echo", "--config", wrong, cwd=tmp_path)

            assert code == 2
            assert "Invalid value for '--config'" in err

    def test_it_does_not_load(self, tmp_path: Path) -> None:
        """A file that cannot be loaded exits with 4 and one line."""
        (tmp_path / "x.so").write_text("hello\n")
        code, out, err = run("plugin", "call", "x.so", "/", cwd=tmp_path)

        assert (code, out) == (4, "")
        assert len(err.splitlines()) == 1
        assert "the file starts with 'hello'" in err

    @posix_only
    def test_on_a_terminal(self, library: Path) -> None:
        """On a terminal JSON is indented, and other text ends with a newline."""
        assert on_terminal("plugin", "call", library, "/echo", "--data", '{"a":[1]}') == '{\n  "a": [\n    1\n  ]\n}\n'
        assert on_terminal("plugin", "call", library, "/echo", "--data", "text") == "text\n"

    @posix_only
    def test_binary_data_on_a_terminal(self, library: Path, tmp_path: Path) -> None:
        """Binary data is not written to a terminal, and the message suggests a redirect."""
        from terminal import Terminal

        (tmp_path / "d").write_bytes(bytes(range(256)))
        terminal = Terminal("plugin", "call", library, "/echo", "--data", f"@{tmp_path / 'd'}")

        assert terminal.ends() == 0
        assert terminal.text.endswith(
            "backworks: the response is 256 bytes of binary data: redirect it to a file with > FILE\r\n"
        )
        assert "\x00" not in terminal.text

    @pytest.mark.parametrize("endpoint", ["/echo", "/fail"])
    def test_time(self, library: Path, endpoint: str) -> None:
        """With --time, stderr shows how long startup and the call took, whatever the outcome."""
        code, out, err = run("plugin", "call", library, endpoint, "--data", "x", "--time")
        first, *rest = err.splitlines()

        assert (code, out) == ((0, "x") if endpoint == "/echo" else (1, ""))
        assert re.fullmatch(r"backworks: various: startup took [\d.]+ (µs|ms|s), the call [\d.]+ (ns|µs|ms)", first)
        assert rest == ([] if endpoint == "/echo" else ["backworks: various: NOT_FOUND: no station KXYZ"])

    @posix_only
    @pytest.mark.parametrize("isolation", ["thread", "none"])
    def test_what_takes_long(self, library: Path, isolation: str) -> None:
        """On a terminal a slow call shows its progress, which disappears when the response is printed."""
        from terminal import Terminal

        terminal = Terminal(
            "plugin", "call", library, "/hang", "--isolation", isolation, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert terminal.process.stdin is not None
        assert terminal.process.stdout is not None
        terminal.until("various: GET /hang")
        terminal.process.stdin.close()
        with terminal.process.stdout as stdout:
            answer = stdout.read()

        assert (terminal.ends(), answer) == (0, b"")
        assert "INFO backworks.plugin.various: inside\r\n" in terminal.text
        assert terminal.text.endswith("\x1b[2K")

    @posix_only
    def test_nothing_of_that_in_a_pipe(self, library: Path) -> None:
        """In a pipe a slow call shows no progress."""
        process = start("plugin", "call", library, "/hang", "--isolation", "none", stdin=subprocess.PIPE)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)  # longer than the delay before progress is shown
        out, err = process.communicate(timeout=PATIENCE)

        assert (process.returncode, out, err) == (0, b"", b"INFO backworks.plugin.various: inside\n")

    @posix_only
    @pytest.mark.parametrize(("isolation", "code"), [("thread", 130), ("none", -signal.SIGINT)])
    def test_ctrl_c(self, library: Path, isolation: str, code: int) -> None:
        """Ctrl-C ends the command even while the plugin hangs; shells see both outcomes as 130."""
        process = start("plugin", "call", library, "/hang", "--isolation", isolation, stdin=subprocess.PIPE)
        assert process.stderr is not None
        line = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)
        _, err = process.communicate()

        assert line == b"INFO backworks.plugin.various: inside\n"
        assert process.returncode == code
        assert b"Traceback" not in err


class TestProject:
    """Commands without FILE take the plugin of the project in the current directory."""

    @pytest.fixture(name="project")
    def _project(self, config: Path) -> Path:
        config.rename(config.with_name("backworks.yaml"))
        return config.parent

    def test_call(self, project: Path) -> None:
        """A single argument is the endpoint."""
        assert run("plugin", "call", "/echo", "--data", "hello", cwd=project) == (0, "hello", "")

    def test_its_configuration(self, project: Path) -> None:
        """The plugin receives its configuration from the file, or the one that is given instead."""
        file = project / "backworks.yaml"
        file.write_text(file.read_text(encoding="utf-8").replace("limit: 1", "limit: many"), encoding="utf-8")
        code, _, err = run("plugin", "call", "/echo", cwd=project)

        assert code == 3
        assert "'many' is not of type 'integer'" in err
        assert run("plugin", "call", "/echo", "--config", "{}", cwd=project)[0] == 0

    def test_test(self, project: Path) -> None:
        """The tests run, without colours where NO_COLOR is set, and name the command without FILE again."""
        code, out, err = run("plugin", "test", "--only", "^manifest", cwd=project)

        assert (code, err) == (0, "")
        assert "The plugin keeps the contract." in out

    def test_bench(self, project: Path) -> None:
        """The measurements run."""
        code, out, _ = run(
            "plugin", "bench", "/echo", "--isolation", "none", "--seconds", "0.01", "--json", cwd=project
        )

        assert code == 0
        assert json.loads(out)["results"][0]["isolation"] == "none"

    @pytest.mark.parametrize("command", ["call", "test", "bench"])
    def test_no_project(self, tmp_path: Path, command: str) -> None:
        """Elsewhere, FILE is required, with a sentence that says what is missing."""
        code, _, err = run("plugin", command, *(["/echo"] if command == "call" else []), cwd=tmp_path)
        assert code == 2
        assert "missing FILE: give the plugin's library, or run this beside its backworks.yaml" in err

        (tmp_path / "backworks.yaml").write_text("plugins: {a: {path: a}, b: {path: b}}\n")
        code, _, err = run("plugin", command, *(["/echo"] if command == "call" else []), cwd=tmp_path)
        assert code == 2
        assert "backworks.yaml has 2 plugins with a path (a, b); give the plugin's library" in err

    def test_call_without_endpoint(self, library: Path) -> None:
        """A single argument that is a file lacks the endpoint."""
        code, _, err = run("plugin", "call", library)

        assert code == 2
        assert "missing ENDPOINT, such as /api/weather" in err

    @posix_only
    def test_no_color(self, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a terminal, the report has colours unless NO_COLOR is set."""
        monkeypatch.delenv("NO_COLOR", raising=False)
        arguments = ("plugin", "test", library, "--only", "^manifest")
        assert "\x1b[3" in on_terminal(*arguments)

        monkeypatch.setenv("NO_COLOR", "1")
        assert "\x1b[3" not in on_terminal(*arguments)


class TestServe:
    """``backworks serve``; other files test the server itself."""

    @posix_only
    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_until_ctrl_c(self, config: Path, workers: str) -> None:
        """It prints its address, serves, and exits with 0 on Ctrl-C."""
        process = start("serve", config, "--workers", workers)
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        where = line.partition("http://")[2].split()[0]
        with urllib.request.urlopen(f"http://{where}/x", timeout=PATIENCE) as answer:
            request = json.load(answer)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)

        assert line.startswith("Serving 1 endpoint on http://127.0.0.1:")
        assert request["path"] == "/x"
        assert process.returncode == 0

    def test_bad_configuration(self, config: Path) -> None:
        """An invalid configuration exits with 3 before anything starts."""
        config.write_text("server: {port: http}\n", encoding="utf-8")
        code, out, err = run("serve", config)

        assert (code, out) == (3, "")
        assert err.startswith(f"backworks: {config}:1:16: server.port: must be a whole number")

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_plugin_that_does_not_load(self, config: Path, workers: str) -> None:
        """A critical plugin that cannot be loaded exits with 4 and is reported once."""
        config.write_text("server: {port: 0}\nplugins: {one: {path: gone}}\n", encoding="utf-8")
        code, _, err = run("serve", config, "--workers", workers)

        assert code == 4
        assert err.count("the file does not exist") == 1
        assert "Traceback" not in err

    def test_wrong_port(self, config: Path) -> None:
        """An invalid port is a usage error."""
        assert run("serve", config, "--port", "70000")[0] == 2


class TestSdk:
    """``backworks sdk``."""

    def test_path(self) -> None:
        """The directories of the SDKs are printed one per line, or only the one asked for."""
        paths = {kit: str(sdk.path(kit)) for kit in sdk.KITS}

        assert run("sdk", "path") == (0, "".join(f"{path}\n" for path in paths.values()), "")
        for kit, path in paths.items():
            assert run("sdk", "path", f"--{kit}") == (0, f"{path}\n", "")


def on_terminal(*arguments: str | Path) -> str:
    """Runs the command with a terminal as its stdout, and returns what it wrote there."""
    import pty

    ours, theirs = pty.openpty()
    process = start(*arguments, stdout=theirs)
    os.close(theirs)
    written = b""
    try:
        while piece := os.read(ours, 65536):
            written += piece
    except OSError:
        pass  # on Linux, the other side is closed
    finally:
        os.close(ours)
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, b"")
    return written.decode().replace("\r\n", "\n")
