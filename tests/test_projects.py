"""The projects of ``backworks plugin new``, one for each language: built, called and served as a newcomer would."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
import test_docs
from conftest import PATIENCE, missing

import backworks
import backworks.config
from backworks.authoring.project import LANGUAGES, SOURCES, create_project
from backworks.authoring.toolchains import Job, toolchain_of
from backworks.errors import Code, IsolationError, PluginError, ToolNotFound
from backworks.ffi.contract import OPTIONAL_SYMBOLS, REQUIRED_SYMBOLS
from backworks.loading.inspection import inspect_library

ROOT = Path(__file__).resolve().parent.parent

# The first build in a language may compile and cache parts of its toolchain, which takes minutes for Zig.
#: Cargo caches compiled dependencies there, so that each project compiles only its own crate.
ENVIRONMENT = os.environ | {"PYTHONUTF8": "1", "CARGO_TARGET_DIR": str(ROOT / "build" / "cargo")}


@dataclass(frozen=True)
class Made:
    """A project that was created and built."""

    language: str
    directory: Path
    library: Path
    said: str


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command and prints its output, which pytest shows on failure."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=cwd,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    print(done.stdout, done.stderr, sep="\n")
    return done


def command(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs ``backworks``."""
    return run(sys.executable, "-m", "backworks", *arguments, cwd=cwd)


@pytest.fixture(scope="module", params=LANGUAGES, name="made")
def _made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The project of one language, created and built by the command."""
    language = request.param
    parent = tmp_path_factory.mktemp("projects")
    done = command("plugin", "new", f"my-{language}", "--lang", language, cwd=parent)
    assert done.returncode == 0
    directory = parent / f"my-{language}"
    try:
        toolchain_of(directory).steps(Job(directory, directory / "build", "x"))
    except ToolNotFound as error:
        missing(str(error))
    done = command("plugin", "build", cwd=directory)
    assert done.returncode == 0
    return Made(language, directory, directory / done.stdout.strip(), done.stderr)


class TestBuilt:
    """The result of ``backworks plugin build``."""

    def test_place(self, made: Made) -> None:
        """The library is at the configured path, and the next command is shown."""
        assert made.library.parent == made.directory / "build"
        assert made.library.stem.removeprefix("lib") == f"my_{made.language}"
        assert "next: backworks serve backworks.yaml" in made.said
        assert not list(made.library.parent.glob(".*"))

    def test_again(self, made: Made) -> None:
        """A second build changes nothing, and keeps the file that a host may have open."""
        before = made.library.stat()
        done = command("plugin", "build", made.directory, cwd=made.directory.parent)

        assert done.returncode == 0
        assert "up to date in" in done.stderr
        assert (made.library.stat().st_ino, made.library.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    def test_exports(self, made: Made) -> None:
        """The library exports the functions of the ABI and its manifest, and nothing else."""
        exports = inspect_library(made.library).exports

        assert exports >= set(REQUIRED_SYMBOLS)
        assert exports <= {*REQUIRED_SYMBOLS, *OPTIONAL_SYMBOLS, "backworks_plugin_manifest"} or sys.platform != "linux"

    def test_manifest(self, made: Made) -> None:
        """The manifest has the plugin's name, and for Go requires isolation process."""
        info = inspect_library(made.library)

        assert info.manifest is not None
        assert info.manifest["name"] == f"my-{made.language}"
        assert info.manifest["description"] == "Greets a person by name"
        assert info.manifest.get("isolation") == (["process"] if made.language == "go" else None)


class TestCalled:
    """The plugin's answers."""

    @pytest.mark.parametrize("isolation", ["none", "thread", "process"])
    def test_answers(self, made: Made, isolation: str) -> None:
        """The plugin greets, returns an error and has no answer, equally in every isolation that it allows."""
        if made.language == "go" and isolation != "process":
            with pytest.raises(IsolationError):
                backworks.load(made.library, isolation=isolation)
            return
        with backworks.load(made.library, isolation=isolation) as plugin:
            result = plugin.call("/hello", "POST", "Zoë".encode())
            assert result is not None
            assert (result.data.decode(), result.content_type) == ("Hello, Zoë!", "text/plain")
            assert plugin.process_endpoint_data("/hello") == "Hello, world!"
            with pytest.raises(PluginError) as caught:
                plugin.process_endpoint_data("/hello", "POST", "x" * 101)
            assert caught.value.code is Code.INVALID_ARGUMENT
            assert caught.value.message == "a name has at most 100 bytes; this one has 101"
            assert plugin.process_endpoint_data("/hello", "POST", "x" * 100) == f"Hello, {'x' * 100}!"
            assert plugin.process_endpoint_data("/bye") is None

    def test_configuration(self, made: Made) -> None:
        """The plugin's schema rejects an unknown setting."""
        with pytest.raises(backworks.ConfigError, match="'colour' was unexpected"):
            backworks.load(made.library, {"colour": "red"}, isolation="process")

    def test_log(self, made: Made, caplog: pytest.LogCaptureFixture) -> None:
        """The plugin's log records appear in the host's log, under its name."""
        with caplog.at_level("INFO"):
            backworks.load(made.library, isolation="process").close()

        assert (f"backworks.plugin.my-{made.language}", 20, "ready to greet") in caplog.record_tuples

    def test_served(self, made: Made) -> None:
        """The project's configuration is served over HTTP."""
        process = subprocess.Popen(
            [sys.executable, "-m", "backworks", "serve", "backworks.yaml", "--port", "0"],
            cwd=made.directory,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            url = re.search(r"http://\S+", process.stdout.readline())
            assert url is not None
            with urllib.request.urlopen(f"{url[0]}/hello", data=b"Ada", timeout=PATIENCE) as answer:
                assert (answer.read(), answer.headers["Content-Type"]) == (b"Hello, Ada!", "text/plain")
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(f"{url[0]}/hello", data=b"x" * 101, timeout=PATIENCE)
            assert caught.value.code == 400
            assert json.load(caught.value)["code"] == "INVALID_ARGUMENT"
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE)


class TestProject:
    """The files of the project."""

    def test_own_test(self, made: Made) -> None:
        """The project's own test passes."""
        done = run(sys.executable, "-m", "unittest", cwd=made.directory)

        assert done.returncode == 0
        assert "Ran 3 tests" in done.stderr

    def test_contract(self, made: Made) -> None:
        """The plugin passes the conformance tests without a warning."""
        done = command("plugin", "test", made.library, "--call", "POST /hello Ada", "--json", cwd=made.directory)
        verdicts = {test["status"] for test in json.loads(done.stdout)["tests"]}

        assert done.returncode == 0
        assert verdicts == {"pass", "skipped"}

    @pytest.mark.skipif(sys.platform == "win32", reason="the session is written for a POSIX shell")
    def test_readme(self, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every command of the project's README prints the output shown there."""
        import socket

        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        directory = tmp_path / "project"
        shutil.copytree(made.directory, directory, ignore=shutil.ignore_patterns("__pycache__", ".zig-cache"))
        for name in ("README.md", "backworks.yaml"):
            file = directory / name
            file.write_text(file.read_text(encoding="utf-8").replace("8080", port), encoding="utf-8")
        found = list(test_docs.blocks(directory / "README.md"))

        assert [block.kind for block in found] == ["text", "console"]
        test_docs.console(found[1], directory)

    def test_configuration(self, made: Made) -> None:
        """The project's configuration is valid."""
        done = command("config", "check", "backworks.yaml", cwd=made.directory)

        assert (done.returncode, done.stdout) == (0, "backworks.yaml: OK (1 plugin, 1 endpoint)\n")

    def test_workflow(self, made: Made) -> None:
        """The project's workflow passes the linter, and pins the same actions as Backworks' own."""
        workflow = made.directory / ".github" / "workflows" / "ci.yml"
        zizmor = shutil.which("zizmor", path=str(Path(sys.executable).parent))
        if zizmor is None:
            missing("zizmor")
        text = workflow.read_text(encoding="utf-8")
        own = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")

        assert run(zizmor, "--offline", "--persona", "pedantic", workflow, cwd=made.directory).returncode == 0
        assert set(re.findall(r"uses: (.*)", text)) <= set(re.findall(r"uses: (.*)", own))
        assert f"backworks=={backworks.__version__}" in text

    def test_nothing_left(self, made: Made) -> None:
        """No placeholder of a template remains, and build output is ignored by git."""
        for file in made.directory.rglob("*"):
            if file.is_file() and not {"build", "target", ".zig-cache", "__pycache__"} & set(file.parts):
                assert "@{" not in file.read_text(encoding="utf-8"), file
        assert "/build/" in (made.directory / ".gitignore").read_text(encoding="utf-8").splitlines()
        assert (made.directory / SOURCES[made.language]).is_file()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["fn", "9lives", "a.b-c_d", "con"])
def test_odd_names(language: str, name: str, tmp_path: Path) -> None:
    """A name that is a keyword, starts with a digit or contains dots changes only the name of the library."""
    directory = create_project(name, language, tmp_path)
    stem = {"fn": "fn_plugin", "9lives": "plugin_9lives", "a.b-c_d": "a_b_c_d", "con": "con_plugin"}[name]

    assert directory == tmp_path / name
    assert f"path: ./build/{stem} " in (directory / "backworks.yaml").read_text(encoding="utf-8")
    assert f'"{name}"' in (directory / SOURCES[language]).read_text(encoding="utf-8")
    assert backworks.config.load_config(directory / "backworks.yaml").plugins[name].path is not None
