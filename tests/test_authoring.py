"""``backworks plugin new`` and ``build``: the arguments they accept, their output, and the files they leave."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backworks import __version__
from backworks.authoring import project, toolchains
from backworks.authoring.building import Builder, find_project
from backworks.authoring.names import check_name, file_name
from backworks.authoring.project import create_project
from backworks.errors import BuildError, ConfigError, ToolNotFound
from backworks.loading.inspection import inspect_library
from backworks.loading.paths import SUFFIXES

ROOT = Path(__file__).resolve().parent.parent


def run(*arguments: str, cwd: Path, **environment: str) -> tuple[int, str, str]:
    """Runs ``backworks plugin``; returns the exit code, and what it wrote to stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "backworks", "plugin", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(name="made")
def _made(tmp_path: Path) -> Path:
    """A C project that has not been built."""
    return create_project("hello", "c", tmp_path)


class TestNames:
    """Valid names of plugins."""

    @pytest.mark.parametrize("name", ["a", "weather", "my-plugin", "a.b_c-9", "9", "x" * 64])
    def test_accepted(self, name: str) -> None:
        """A name that the ABI accepts is valid."""
        check_name(name)

    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("My Plugin", "my-plugin"),
            ("-x", "x"),
            ("a/b", "a-b"),
            ("../up", "up"),
            ("x.", "x"),
            ("y" * 65, "y" * 64),
            ("", None),
            ("é", None),
            ("..", None),
        ],
    )
    def test_refused(self, name: str, hint: str | None) -> None:
        """Any other name is rejected with the rule and a similar valid name."""
        with pytest.raises(ValueError, match=r"is not a valid plugin name: it must have 1 to 64 characters") as caught:
            check_name(name)

        assert str(caught.value).endswith(f"; try {hint}" if hint else "not end with a full stop")

    @pytest.mark.parametrize(
        ("name", "file"),
        [("my-plugin", "my_plugin"), ("9", "plugin_9"), ("fn", "fn_plugin"), ("std", "std_plugin"), ("a.b", "a_b")],
    )
    def test_files(self, name: str, file: str) -> None:
        """A file name is an identifier that no language or system reserves."""
        assert file_name(name) == file


ZIG_MODULES = ["--dep", "backworks", "-Mroot=plugin.zig", "-Mbackworks=sdk/backworks.zig", "-lc"]


class TestNew:
    """``backworks plugin new``."""

    def test_says(self, tmp_path: Path) -> None:
        """The command prints what it created and the next step."""
        code, out, err = run("new", "hello", "--lang", "c", cwd=tmp_path)

        assert (code, err) == (0, "")
        assert "hello: created a C plugin" in out
        assert "backworks plugin dev hello" in out

    def test_warns(self, tmp_path: Path) -> None:
        """If the language's tool is not installed, the project is created and a warning is printed."""
        code, _, err = run("new", "hello", "--lang", "rust", cwd=tmp_path, PATH=str(tmp_path))

        assert code == 0
        assert err == "backworks: warning: Rust's cargo is not installed: get it from https://rustup.rs\n"
        assert (tmp_path / "hello" / "Cargo.toml").is_file()

    @pytest.mark.parametrize("arguments", [["Hello", "--lang", "c"], ["hello"], ["hello", "--lang", "ada"]])
    def test_usage_errors(self, tmp_path: Path, arguments: list[str]) -> None:
        """An invalid name and a missing or unknown language are usage errors, and create nothing."""
        code, out, err = run("new", *arguments, cwd=tmp_path)

        assert (code, out) == (2, "")
        assert re.search("try hello|Missing option '--lang'|'ada' is not one of 'c', 'cpp', 'rust'", err)
        assert list(tmp_path.iterdir()) == []

    def test_taken(self, tmp_path: Path) -> None:
        """A directory that is not empty and a file are rejected and left unchanged."""
        for name in ("full", "file"):
            (tmp_path / "full").mkdir(exist_ok=True)
            (tmp_path / "full" / "mine").write_text("mine")
            (tmp_path / "file").write_text("mine")
            code, _, err = run("new", name, "--lang", "c", cwd=tmp_path)

            assert code == 2
            assert f"{name} already exists: choose another name, or run this in another directory" in err
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "mine"]

    def test_empty_directory(self, tmp_path: Path) -> None:
        """An empty directory is used."""
        (tmp_path / "hello").mkdir()

        assert (create_project("hello", "c", tmp_path) / "Makefile").is_file()

    def test_failure_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A failure midway leaves no partial project."""
        monkeypatch.setitem(project.LANGUAGES, "c", ("c", "ada"))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="not 'ada'"):
            create_project("hello", "c", tmp_path)

        assert list(tmp_path.iterdir()) == []

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a directory that not even root can write to")
    def test_read_only(self) -> None:
        """A directory that cannot be written is one line."""
        code, out, err = run("new", "hello", "--lang", "c", cwd=Path("/proc"))

        assert (code, out) == (1, "")
        assert re.fullmatch(r"Error: \S*: [A-Z][a-z ]+\n", err)

    def test_workflow_before_a_release(self, tmp_path: Path) -> None:
        """The project's workflow also installs a version of Backworks that is not on the package index."""
        workflow = create_project("hello", "zig", tmp_path) / ".github" / "workflows" / "ci.yml"

        assert f"pip install --find-links wheels backworks=={__version__} ziglang" in workflow.read_text()

    @pytest.mark.parametrize("arguments", [["build"], ["build", "test"], ["test", *ZIG_MODULES]])
    def test_zig_without_release(self, tmp_path: Path, arguments: list[str]) -> None:
        """A Zig project also builds in debug mode, and its tests run; Zig's own backend cannot make the manifest."""
        directory = create_project("hello", "zig", tmp_path)
        subprocess.run([sys.executable, "-m", "ziglang", *arguments], cwd=directory, check=True)

        if arguments == ["build"]:
            (library,) = (path for path in directory.glob("zig-out/*/*hello*") if path.suffix in SUFFIXES)
            assert inspect_library(library).manifest is not None

    def test_licence_of_the_kit(self, tmp_path: Path) -> None:
        """Every file copied from Backworks states its licence."""
        for language in project.LANGUAGES:
            directory = create_project(f"x-{language}", language, tmp_path) / "sdk"
            for file in directory.glob("*.*"):
                if file.suffix in {".h", ".hpp", ".c", ".go", ".zig"}:
                    assert "SPDX-License-Identifier: MIT" in file.read_text(encoding="utf-8")[:60], file


class TestBuild:
    """``backworks plugin build``."""

    def test_streams(self, made: Path) -> None:
        """Only the path goes to stdout; the commands, the tool's output and the next step go to stderr."""
        code, out, err = run("build", "hello", cwd=made.parent)

        assert code == 0
        assert Path(out.strip()) == find_project(made).library.relative_to(made.parent)
        assert "backworks: $ " in err
        assert "next: backworks serve hello" in err

    def test_compiler_error(self, made: Path) -> None:
        """A compiler error is shown, has its own exit code, and leaves the old library in place."""
        assert run("build", cwd=made)[0] == 0
        library = find_project(made).library
        before = library.read_bytes()
        (made / "plugin.c").write_text("int oops\n")
        code, out, err = run("build", cwd=made)

        assert (code, out) == (5, "")
        assert "plugin.c:1" in err
        assert re.search(r"backworks: build failed: g?make exited with 2; see its output above\n", err)
        assert library.read_bytes() == before

    @pytest.mark.parametrize(
        ("language", "words"),
        [
            ("c", "GNU make is not installed: apt install make"),
            ("cpp", "CMake is not installed: pip install cmake"),
            ("rust", "Rust's cargo is not installed: get it from https://rustup.rs"),
            ("go", "Go is not installed: get it from https://go.dev/dl"),
        ],
    )
    def test_missing_tool(self, language: str, words: str, tmp_path: Path) -> None:
        """A tool that is not installed is named, with how to get it and its own exit code."""
        directory = create_project("hello", language, tmp_path)
        code, _, err = run("build", cwd=directory, PATH=str(tmp_path))

        assert code == 6
        assert err.startswith(f"backworks: {words}")

    def test_missing_zig(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Zig may be a program or the package ziglang; without either it is missing."""
        directory = create_project("hello", "zig", tmp_path)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(toolchains.importlib.util, "find_spec", lambda name: None)

        with pytest.raises(ToolNotFound, match="Zig is not installed: pip install ziglang, or get it from"):
            Builder(directory, print).build()

    @pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a script for a POSIX shell")
    def test_old_zig(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A Zig that is too old is rejected before it is run on the project."""
        directory = create_project("hello", "zig", tmp_path)
        zig = tmp_path / "zig"
        zig.write_text("#!/bin/sh\necho 0.13.0\n")
        zig.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

        with pytest.raises(ToolNotFound, match=r"Zig 0.13.0 is too old; 0.14 or newer is required: pip"):
            Builder(directory, print).build()

    def test_missing_compiler(self, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """If the compiler in the environment is not installed, the error names it."""
        monkeypatch.setenv("CC", "no-such-cc -O3")

        with pytest.raises(ToolNotFound, match="CC is set to no-such-cc, which is not installed"):
            Builder(made, print).build()

    def test_compiler_by_path(self, made: Path, cc: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """The compiler in the environment may be a native path, followed by arguments."""
        path = shutil.which(cc[0])
        assert path is not None
        monkeypatch.setenv("CC", " ".join([path, *cc[1:], "-DSOME"]))

        assert Builder(made, print).build().changed

    def test_other_directory(self, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A project is found by a path with ``..``, with a link, and by its absolute path."""
        beside = tmp_path / "beside"
        beside.mkdir()
        monkeypatch.chdir(beside)
        for path in ("../hello", "../beside/../hello/", str(made), "../hello/./build/.."):
            (made / "build").mkdir(exist_ok=True)
            assert find_project(Path(path)).directory == made
        if sys.platform != "win32":
            (beside / "link").symlink_to(made)
            assert find_project(Path("link")).plugin_id == "hello"
        code, out, _ = run("build", "../hello", cwd=beside)

        assert (code, Path(out.strip()).parts[:2]) == (0, ("..", "hello"))

    def test_no_project(self, tmp_path: Path, made: Path) -> None:
        """For a directory that is not a project, the error says what is missing."""
        with pytest.raises(BuildError, match="no build file found; add one of Cargo.toml, go.mod, build"):
            find_project(tmp_path)
        with pytest.raises(BuildError, match="no such directory"):
            find_project(tmp_path / "gone")
        (made / "backworks.yaml").unlink()
        with pytest.raises(BuildError, match=r"missing backworks\.yaml, which sets the path of the library"):
            find_project(made)
        assert run("build", cwd=tmp_path)[0] == 5

    def test_wrong_configuration(self, made: Path) -> None:
        """An invalid configuration is reported with its position and the exit code for configurations."""
        config = made / "backworks.yaml"
        config.write_text("plugins:\n  hello: {path: 5}\n", encoding="utf-8")
        with pytest.raises(ConfigError, match=r"backworks.yaml:2:17: plugins.hello.path"):
            find_project(made)

        assert run("build", cwd=made)[0] == 3

    @pytest.mark.parametrize(
        ("plugins", "words"),
        [
            ("{}", "none does"),
            ("{a: {path: ../elsewhere/a}}", "none does"),
            ("{a: {path: ./build/a}, b: {path: ./build/b}}", "2 do (a, b)"),
        ],
    )
    def test_which_library(self, made: Path, plugins: str, words: str) -> None:
        """The configuration must name exactly one library in the project."""
        (made / "backworks.yaml").write_text(f"plugins: {plugins}\n", encoding="utf-8")

        with pytest.raises(BuildError, match=re.escape(words)):
            find_project(made)

    def test_elsewhere(self, made: Path) -> None:
        """The library goes to the configured path, under the configured name."""
        config = made / "backworks.yaml"
        text = config.read_text(encoding="utf-8")
        config.write_text(text.replace("./build/hello ", "./out/libhello.so "), encoding="utf-8")

        assert Builder(made, print).build().library == made / "out" / "libhello.so"
        assert (made / "out" / "libhello.so").is_file()

    def test_other_name(self, made: Path) -> None:
        """If the build file and the configuration name the library differently, the error says so."""
        config = made / "backworks.yaml"
        config.write_text(config.read_text(encoding="utf-8").replace("./build/hello ", "./build/other "))

        with pytest.raises(BuildError, match="name the library after the path in backworks.yaml"):
            Builder(made, print).build()

    def test_the_example(self, tmp_path: Path) -> None:
        """A project written by hand builds as well, such as the example weather plugin."""
        directory = tmp_path / "weather"
        shutil.copytree(ROOT / "examples" / "weather_plugin_c", directory)
        (directory / "backworks.yaml").write_text("plugins: {weather: {path: plugins/weather_c}}\n")
        makefile = directory / "Makefile"
        makefile.write_text(makefile.read_text().replace("../../sdk/c", (ROOT / "sdk" / "c").as_posix()))

        built = Builder(directory, print).build()

        assert built.changed
        assert built.library.parent == directory / "plugins"
