"""``backworks plugin new`` and ``build``: what they accept, what they say, and what they leave behind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backworks.authoring import project, toolchains
from backworks.authoring.building import Builder, find_project
from backworks.authoring.names import check_name, file_name
from backworks.authoring.project import create_project
from backworks.errors import BuildError, ConfigError, ToolNotFound

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
    """A project in C, not built."""
    return create_project("hello", "c", tmp_path)


class TestNames:
    """What a plugin may be called."""

    @pytest.mark.parametrize("name", ["a", "weather", "my-plugin", "a.b_c-9", "9", "x" * 64])
    def test_accepted(self, name: str) -> None:
        """What the ABI accepts is a name."""
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
        """Another is refused with what is accepted, and with a name near to it."""
        with pytest.raises(ValueError, match=r"is no name for a plugin: 1 to 64 characters of \[a-z0-9._-\]") as caught:
            check_name(name)

        assert str(caught.value).endswith(f"; how about {hint}?" if hint else "not a full stop")

    @pytest.mark.parametrize(
        ("name", "file"),
        [("my-plugin", "my_plugin"), ("9", "plugin_9"), ("fn", "fn_plugin"), ("std", "std_plugin"), ("a.b", "a_b")],
    )
    def test_files(self, name: str, file: str) -> None:
        """A file's name is an identifier, and none that a language or a system has taken."""
        assert file_name(name) == file


class TestNew:
    """``backworks plugin new``."""

    def test_says(self, tmp_path: Path) -> None:
        """It says what it has made and what to do next."""
        code, out, err = run("new", "hello", "--lang", "c", cwd=tmp_path)

        assert (code, err) == (0, "")
        assert "hello: a plugin in C" in out
        assert "backworks plugin dev hello" in out

    def test_warns(self, tmp_path: Path) -> None:
        """Where the language's tool is missing, the project is made and that is said."""
        code, _, err = run("new", "hello", "--lang", "rust", cwd=tmp_path, PATH=str(tmp_path))

        assert code == 0
        assert err == "backworks: warning: Rust's cargo is not installed: get it from https://rustup.rs\n"
        assert (tmp_path / "hello" / "Cargo.toml").is_file()

    @pytest.mark.parametrize("arguments", [["Hello", "--lang", "c"], ["hello"], ["hello", "--lang", "ada"]])
    def test_wrong_use(self, tmp_path: Path, arguments: list[str]) -> None:
        """A wrong name, no language, and one that there is not are wrong use, and leave nothing."""
        code, out, err = run("new", *arguments, cwd=tmp_path)

        assert (code, out) == (2, "")
        assert re.search("how about hello|Missing option '--lang'|'ada' is not one of 'c', 'cpp', 'rust'", err)
        assert list(tmp_path.iterdir()) == []

    def test_taken(self, tmp_path: Path) -> None:
        """A directory with something in it, and a file, are refused and stay as they are."""
        for name in ("full", "file"):
            (tmp_path / "full").mkdir(exist_ok=True)
            (tmp_path / "full" / "mine").write_text("mine")
            (tmp_path / "file").write_text("mine")
            code, _, err = run("new", name, "--lang", "c", cwd=tmp_path)

            assert code == 2
            assert f"{name} is there already: choose another name, or another directory to work in" in err
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "mine"]

    def test_empty_directory(self, tmp_path: Path) -> None:
        """An empty directory is taken."""
        (tmp_path / "hello").mkdir()

        assert (create_project("hello", "c", tmp_path) / "Makefile").is_file()

    def test_failure_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What fails in the middle leaves nothing half-written."""
        monkeypatch.setitem(project.LANGUAGES, "c", ("c", "ada"))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="no kit 'ada'"):
            create_project("hello", "c", tmp_path)

        assert list(tmp_path.iterdir()) == []

    @pytest.mark.skipif(sys.platform != "linux", reason="a place in which not even root can write")
    def test_read_only(self) -> None:
        """Where nothing can be written, one line says so."""
        code, out, err = run("new", "hello", "--lang", "c", cwd=Path("/proc"))

        assert (code, out) == (1, "")
        assert re.fullmatch(r"Error: \S*: [A-Z][a-z ]+\n", err)

    def test_licence_of_the_kit(self, tmp_path: Path) -> None:
        """What comes along from Backworks says under which licence."""
        for language in project.LANGUAGES:
            directory = create_project(f"x-{language}", language, tmp_path) / "sdk"
            for file in directory.glob("*.*"):
                if file.suffix in {".h", ".hpp", ".c", ".go", ".zig"}:
                    assert "SPDX-License-Identifier: MIT" in file.read_text(encoding="utf-8")[:60], file


class TestBuild:
    """``backworks plugin build``."""

    def test_streams(self, made: Path) -> None:
        """The path alone goes to stdout; the commands, the tool's words and the next command to stderr."""
        code, out, err = run("build", "hello", cwd=made.parent)

        assert code == 0
        assert Path(out.strip()) == find_project(made).library.relative_to(made.parent)
        assert "backworks: $ " in err
        assert "next: backworks serve hello" in err

    def test_compiler_says_no(self, made: Path) -> None:
        """An error of the compiler is shown, has an exit code of its own, and leaves the old library."""
        assert run("build", cwd=made)[0] == 0
        library = find_project(made).library
        before = library.read_bytes()
        (made / "plugin.c").write_text("int oops\n")
        code, out, err = run("build", cwd=made)

        assert (code, out) == (5, "")
        assert "plugin.c:1" in err
        assert re.search(r"backworks: not built: g?make ended with 2; its own words are above\n", err)
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
        """A tool that is not installed is named, with how to get it and an exit code of its own."""
        directory = create_project("hello", language, tmp_path)
        code, _, err = run("build", cwd=directory, PATH=str(tmp_path))

        assert code == 6
        assert err.startswith(f"backworks: {words}")

    def test_missing_zig(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Zig may be a program or the package ziglang; without both it is missing."""
        directory = create_project("hello", "zig", tmp_path)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(toolchains.importlib.util, "find_spec", lambda name: None)

        with pytest.raises(ToolNotFound, match="Zig is not installed: pip install ziglang, or get it from"):
            Builder(directory, print).build()

    @pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a script for a POSIX shell")
    def test_old_zig(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A Zig that is too old is told so before its compiler stumbles."""
        directory = create_project("hello", "zig", tmp_path)
        zig = tmp_path / "zig"
        zig.write_text("#!/bin/sh\necho 0.13.0\n")
        zig.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

        with pytest.raises(ToolNotFound, match=r"Zig 0.13.0 is too old; 0.14 is the oldest: pip install --upgrade"):
            Builder(directory, print).build()

    def test_missing_compiler(self, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A compiler that the environment names and that is not there is missing by that name."""
        monkeypatch.setenv("CC", "no-such-cc -O3")

        with pytest.raises(ToolNotFound, match="CC names no-such-cc, which is not installed"):
            Builder(made, print).build()

    def test_compiler_by_path(self, made: Path, cc: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """The environment may name a compiler by its path, as the system writes one, and give it arguments."""
        path = shutil.which(cc[0])
        assert path is not None
        monkeypatch.setenv("CC", " ".join([path, *cc[1:], "-DSOME"]))

        assert Builder(made, print).build().changed

    def test_no_project(self, tmp_path: Path, made: Path) -> None:
        """A directory that is no project is told what one has."""
        with pytest.raises(BuildError, match="nothing here says how it is built; known are Cargo.toml, go.mod, build"):
            find_project(tmp_path)
        with pytest.raises(BuildError, match="there is no such directory"):
            find_project(tmp_path / "gone")
        (made / "backworks.yaml").unlink()
        with pytest.raises(BuildError, match=r"there is no backworks\.yaml, which says where the library goes"):
            find_project(made)
        assert run("build", cwd=tmp_path)[0] == 5

    def test_wrong_configuration(self, made: Path) -> None:
        """A wrong configuration is told with its place, and its exit code is that of configurations."""
        config = made / "backworks.yaml"
        config.write_text("plugins:\n  hello: {path: 5}\n", encoding="utf-8")
        with pytest.raises(ConfigError, match=r"backworks.yaml:2:17: plugins.hello.path"):
            find_project(made)

        assert run("build", cwd=made)[0] == 3

    @pytest.mark.parametrize(
        ("plugins", "words"),
        [
            ("{}", "none of them does"),
            ("{a: {path: ../elsewhere/a}}", "none of them does"),
            ("{a: {path: ./build/a}, b: {path: ./build/b}}", "2 of them do (a, b)"),
        ],
    )
    def test_which_library(self, made: Path, plugins: str, words: str) -> None:
        """The configuration has to name one library in the project, no more and no less."""
        (made / "backworks.yaml").write_text(f"plugins: {plugins}\n", encoding="utf-8")

        with pytest.raises(BuildError, match=re.escape(words)):
            find_project(made)

    def test_elsewhere(self, made: Path) -> None:
        """The library goes where the configuration says, under the name that stands there."""
        config = made / "backworks.yaml"
        text = config.read_text(encoding="utf-8")
        config.write_text(text.replace("./build/hello ", "./out/libhello.so "), encoding="utf-8")

        assert Builder(made, print).build().library == made / "out" / "libhello.so"
        assert (made / "out" / "libhello.so").is_file()

    def test_other_name(self, made: Path) -> None:
        """A build file that calls the library otherwise than the configuration is told so."""
        config = made / "backworks.yaml"
        config.write_text(config.read_text(encoding="utf-8").replace("./build/hello ", "./build/other "))

        with pytest.raises(BuildError, match="the library is to be called as backworks.yaml does"):
            Builder(made, print).build()

    def test_the_example(self, tmp_path: Path) -> None:
        """A project that was made by hand builds as well, as the weather plugin of the examples does."""
        directory = tmp_path / "weather"
        shutil.copytree(ROOT / "examples" / "weather_plugin_c", directory)
        (directory / "backworks.yaml").write_text("plugins: {weather: {path: plugins/weather_c}}\n")
        makefile = directory / "Makefile"
        makefile.write_text(makefile.read_text().replace("../../sdk/c", (ROOT / "sdk" / "c").as_posix()))

        built = Builder(directory, print).build()

        assert built.changed
        assert built.library.parent == directory / "plugins"
