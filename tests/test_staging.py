"""Private copies of libraries: how they are made and removed."""

from __future__ import annotations

import gc
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bundles import FROM_LINKED, FROM_MODEL, FROM_OPENED, build_dependency, build_plugin, posix_only
from conftest import ECHO, LIBRARY, PATIENCE

import backworks
from backworks.errors import PluginLoadError, PluginNotFound
from backworks.loading import private
from backworks.loading.discovery import PluginDiscovery
from backworks.loading.mirror import Mirror
from backworks.loading.prepared import prepare
from backworks.loading.private import private_directory
from backworks.loading.staging import stage

if TYPE_CHECKING:
    from conftest import CompilePlugin

    from backworks.settings import Isolation

ISOLATIONS: list[Isolation] = ["none", "thread", "process"]

#: Loads a plugin, says where its copy is, and waits to be told to end, or to be killed.
HOST = """
import sys, backworks, backworks.loading.private
plugin = backworks.load(sys.argv[1])
print(backworks.loading.private.private_directory(), flush=True)
sys.stdin.read()
plugin.close()
"""


def host(library: Path, directory: Path) -> tuple[subprocess.Popen[str], Path]:
    """Starts a process that opens the plugin, with temporary files in the test's directory; also returns its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOST, str(library)],
        env={**os.environ, "TMPDIR": str(directory), "TEMP": str(directory)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().rstrip())


def end(process: subprocess.Popen[str]) -> None:
    """Lets a host end normally."""
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def test_copy(compile_plugin: CompilePlugin, tmp_path: Path) -> None:
    """The copy has the content of the file, its path contains their hash, and equal content shares one copy."""
    file = tmp_path / LIBRARY.format("some")
    content = compile_plugin().read_bytes()
    file.write_bytes(content)
    first = stage(file)

    assert first.sha256 == hashlib.sha256(content).hexdigest()
    assert first.path.relative_to(private_directory()).parts[0].startswith(first.sha256)
    assert first.path.name == file.name
    assert first.path.read_bytes() == content
    assert stage(file) is first
    file.write_bytes(content + b"more")
    assert stage(file).path != first.path
    assert first.path.read_bytes() == content


def test_nothing_half_done(compile_plugin: CompilePlugin, tmp_path: Path) -> None:
    """A file that cannot be read leaves nothing in the private directory."""
    kept = stage(compile_plugin())
    before = set(private_directory().iterdir())
    with pytest.raises(PluginNotFound, match="is a directory"):
        stage(tmp_path)

    assert kept.path.exists()
    assert set(private_directory().iterdir()) == before


def _zeros(file: Path) -> None:
    with file.open("wb") as sparse:
        sparse.truncate(3 << 30)


def _large(file: Path) -> None:
    with file.open("ab") as sparse:
        sparse.truncate(3 << 30)


def _magic(file: Path) -> None:
    with file.open("r+b") as sparse:
        sparse.truncate(64)
        sparse.truncate(1 << 30)


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _link_to(target: str) -> Callable[[Path], None]:
    def link(file: Path) -> None:
        file.unlink()
        file.symlink_to(target)

    return link


@posix_only
@pytest.mark.parametrize(
    ("change", "text"),
    [
        pytest.param(_zeros, "size is 3221225472 bytes", id="3 GiB of zeros"),
        pytest.param(_large, "size is 3221225472 bytes", id="library of 3 GiB"),
        pytest.param(_magic, "ELF file: ", id="header and 1 GiB of zeros"),
        pytest.param(_pipe, "not a regular file", id="pipe"),
        pytest.param(_link_to("/dev/zero"), "not a regular file", id="device"),
        pytest.param(_link_to("/proc/kmsg"), "empty|cannot read|does not exist|no such", id="kernel's log"),
        pytest.param(_link_to("/proc/kcore"), "size is|cannot read|does not exist|no such", id="kernel's memory"),
    ],
)
def test_looked_at_first(
    change: Callable[[Path], None], text: str, compile_plugin: CompilePlugin, tmp_path: Path
) -> None:
    """A file that is no library is refused before it is copied, and found by discovery with the same reason."""
    file = tmp_path / LIBRARY.format("odd")
    file.write_bytes(compile_plugin().read_bytes())
    change(file)
    private = private_directory()
    written = private.stat().st_mtime_ns
    with pytest.raises(PluginLoadError, match=text):
        prepare(file)

    assert private.stat().st_mtime_ns == written
    (found,) = PluginDiscovery([tmp_path]).scan()
    assert re.search(text.replace("does not exist", "no such file"), str(found.problems[0]))


class TestPlace:
    """What a library finds by the directory in which it is."""

    @posix_only
    @pytest.mark.parametrize("isolation", ISOLATIONS)
    @pytest.mark.parametrize(
        ("search", "place"), [("lib", "lib"), ("../pkg.libs", "../pkg.libs"), (".", "."), ("../../a/b", "../../a/b")]
    )
    @pytest.mark.parametrize("tag", ["--enable-new-dtags", "--disable-new-dtags"])
    def test_linked(
        self, cc: list[str], tmp_path: Path, search: str, place: str, tag: str, isolation: Isolation
    ) -> None:
        """What a library needs is found in the directories of its RUNPATH and RPATH, and is a copy as well."""
        directory = tmp_path / "root" / "lib" / "pkg"
        flags = [f"-Wl,{tag}"] if sys.platform == "linux" else []
        directory.mkdir(parents=True)
        value = f"{isolation}{tag}{search}"
        dependency = build_dependency(
            cc, (directory / place).resolve(), value, name=LIBRARY.format(f"dep{zlib.crc32(value.encode())}")
        )
        plugin = build_plugin(cc, directory / LIBRARY.format("p"), FROM_LINKED, [search], dependency.parent, flags)
        with backworks.load(plugin, isolation=isolation) as loaded:
            overwritten = dependency.stat().st_size
            dependency.write_bytes(b"\0" * overwritten)

            assert loaded.process_endpoint_data("/") == value

    @posix_only
    def test_linked_indirectly(self, cc: list[str], tmp_path: Path) -> None:
        """What a needed library needs itself is found by that library's own RUNPATH."""
        deep = tmp_path / "lib" / "deep"
        deep.mkdir(parents=True)
        inner = deep / LIBRARY.format("inner")
        code = tmp_path / "inner.c"
        code.write_text('const char *inner(void) { return "from the inside"; }', encoding="utf-8")
        subprocess.run([*cc, "-shared", "-fPIC", str(code), "-o", str(inner)], check=True)
        own = "@loader_path" if sys.platform == "darwin" else "$ORIGIN"
        build_dependency(
            cc,
            tmp_path / "lib",
            "",
            [f"-L{deep}", "-linner", f"-Wl,-rpath,{own}/deep"],
            "const char *inner(void); const char *value(void) { return inner(); }",
        )
        plugin = build_plugin(cc, tmp_path / LIBRARY.format("p"), FROM_LINKED, ["lib"], tmp_path / "lib")
        with backworks.load(plugin, isolation="process") as loaded:
            assert loaded.process_endpoint_data("/") == "from the inside"

    @posix_only
    @pytest.mark.parametrize("isolation", ISOLATIONS)
    @pytest.mark.parametrize("name", ["model.txt", "models/model.txt", "../share/model.txt"])
    def test_file(self, cc: list[str], tmp_path: Path, name: str, isolation: Isolation) -> None:
        """A library that asks for its own path finds the files beside and above it."""
        plugin = build_plugin(cc, tmp_path / "lib" / LIBRARY.format("p"), FROM_MODEL, flags=["-ldl"])
        model = plugin.parent / name
        model.parent.mkdir(exist_ok=True)
        model.resolve().write_text("a model", encoding="utf-8")
        with backworks.load(plugin, isolation=isolation) as loaded:
            assert loaded.process_endpoint_data("/", "GET", name) == "a model"

    @posix_only
    @pytest.mark.parametrize("isolation", ISOLATIONS)
    def test_opened(self, cc: list[str], tmp_path: Path, isolation: Isolation) -> None:
        """A library that opens another one by its name finds it in the directories of its RUNPATH."""
        build_dependency(cc, tmp_path / "backends", "opened")
        plugin = build_plugin(cc, tmp_path / LIBRARY.format("p"), FROM_OPENED, ["backends"], flags=["-ldl"])
        with backworks.load(plugin, isolation=isolation) as loaded:
            assert loaded.process_endpoint_data("/") == "opened"

    @posix_only
    def test_same_content_elsewhere(self, cc: list[str], tmp_path: Path) -> None:
        """Two files with the same content each find what is beside them."""
        first = build_plugin(cc, tmp_path / "one" / LIBRARY.format("p"), FROM_MODEL, flags=["-ldl"])
        second = tmp_path / "two" / first.name
        second.parent.mkdir()
        second.write_bytes(first.read_bytes())
        for file in (first, second):
            (file.parent / "name").write_text(file.parent.name, encoding="utf-8")
        with backworks.load(first) as one, backworks.load(second) as two:
            assert one.process_endpoint_data("/", "GET", "name") == "one"
            assert two.process_endpoint_data("/", "GET", "name") == "two"

    @posix_only
    def test_crowded(self, tmp_path: Path) -> None:
        """Only directories near the library with few entries are mirrored, because each link takes time."""
        origin = tmp_path / "far" / "three" / "two" / "one" / "own"
        origin.mkdir(parents=True)
        for directory in origin.parents[:5]:
            (directory / "a").touch()
        for number in range(200):
            (origin / f"file{number}").touch()
            (origin.parent / f"file{number}").touch()
        mirror = Mirror(tmp_path / "mirror")
        copy = mirror.place(origin / LIBRARY.format("p"))
        mirror.link()

        assert len(list(copy.parent.iterdir())) == 200
        entries = {parent.name: {each.name for each in parent.iterdir()} for parent in copy.parent.parents[:4]}
        assert entries == {"one": {"own"}, "two": {"a", "one"}, "three": {"a", "two"}, "far": {"three"}}


class TestCleaned:
    """A temporary directory in which a program has removed what looks unused."""

    @pytest.mark.parametrize("everything", [False, True], ids=["files", "directories"])
    def test_worker(
        self,
        compile_plugin: CompilePlugin,
        tmp_path: Path,
        everything: bool,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The library of a worker that starts again is copied again, with one line in the log."""
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.setattr(private, "_made", [])
        crashing = ECHO.replace("  (void)plugin;\n", "  (void)plugin;\n  if (request->data_size == 5) abort();\n")
        library = tmp_path.parent / f"{tmp_path.name}-{compile_plugin(crashing, 'crashing').name}"
        library.write_bytes(compile_plugin(crashing, "crashing").read_bytes())
        with backworks.load(library, isolation="process") as plugin:
            for file in sorted(tmp_path.rglob("*"), reverse=True):
                if everything and not file.is_symlink() and file.is_dir():
                    file.rmdir()
                elif everything or (file.is_file() and not file.is_symlink()):
                    file.unlink()
            with pytest.raises(backworks.PluginCrashed):
                plugin.process_endpoint_data("/", "GET", "crash")

            assert plugin.process_endpoint_data("/", "GET", "on") == "on"
        assert sum("copied it again" in record.getMessage() for record in caplog.records) == 1

    def test_reload(self, compile_plugin: CompilePlugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """After the private directory has gone, a plugin can be loaded and reloaded."""
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.setattr(private, "_made", [])
        with backworks.PluginManager() as manager:
            manager.load(compile_plugin(), plugin_id="echo")
            shutil.rmtree(private_directory())
            manager.reload("echo")

            assert manager.process_endpoint_data("echo", "/", "GET", "on") == "on"


class TestUnusable:
    """A temporary directory that cannot be used."""

    def test_full(self, compile_plugin: CompilePlugin, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error of a full or read-only directory names it, the plugin, the reason and the variable to set."""
        monkeypatch.setattr(tempfile, "tempdir", str(small))
        monkeypatch.setattr(private, "_made", [])
        plugin = compile_plugin()
        with pytest.raises(PluginLoadError) as caught:
            prepare(plugin)

        assert str(caught.value).startswith(f"{plugin}: cannot write to the temporary directory {small}: ")
        assert "TMPDIR" in str(caught.value)

    @pytest.fixture(name="small")
    def _small(self, tmp_path: Path) -> Path:
        """A path in which nothing can be made, even by root: below a file."""
        (tmp_path / "file").touch()
        return tmp_path / "file" / "tmp"

    @pytest.mark.skipif(sys.platform != "linux", reason="mounts a file system in a namespace of its own")
    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ("size=64k,mode=777", "cannot write to the temporary directory {}: No space left on device"),
            (
                "noexec,mode=777",
                "cannot run code from the temporary directory {}, which is probably mounted with noexec",
            ),
        ],
        ids=["full", "noexec"],
    )
    def test_mounted(self, compile_plugin: CompilePlugin, tmp_path: Path, options: str, text: str) -> None:
        """``config check`` tries the directory, and says which one it is and what to do."""
        directory = tmp_path / "tmp"
        directory.mkdir()
        mount = ["unshare", "-Urm", "sh", "-c", 'mount -t tmpfs -o "$0" none "$1" && shift && exec "$@"']
        if subprocess.run([*mount, options, str(directory), "true"], check=False, capture_output=True).returncode:
            pytest.skip("this system does not let a user mount a file system")
        plugin = tmp_path / "libecho.so"
        plugin.write_bytes(compile_plugin().read_bytes() + b"\0" * 100_000)
        config = tmp_path / "backworks.yaml"
        config.write_text(f"plugins: {{echo: {{path: {plugin}}}}}\n", encoding="utf-8")
        done = subprocess.run(
            [*mount, options, str(directory), sys.executable, "-m", "backworks", "config", "check", str(config)],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "TMPDIR": str(directory)},
        )

        assert text.format(directory) in done.stdout + done.stderr
        assert "TMPDIR" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows removes no file that a process has open")
def test_unused_copies_go(compile_plugin: CompilePlugin, tmp_path: Path) -> None:
    """After many reloads of a changed library, there is a copy only of the one that runs."""
    file = tmp_path / LIBRARY.format("echo")
    content = compile_plugin().read_bytes()
    file.write_bytes(content)
    gc.collect()
    before = set(private_directory().iterdir())
    with backworks.PluginManager() as manager:
        manager.load(file, plugin_id="echo")
        for number in range(5):
            file.write_bytes(content + bytes([number]))
            manager.reload("echo")
        gc.collect()

        assert len(set(private_directory().iterdir()) - before) == 1
        assert manager.process_endpoint_data("echo", "/", "GET", "on") == "on"
    del manager
    gc.collect()
    assert not set(private_directory().iterdir()) - before


class TestLeftovers:
    """The private directories of processes that have ended."""

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows lets nobody remove a library that is open")
    def test_end(self, compile_plugin: CompilePlugin, tmp_path: Path) -> None:
        """A host removes its directory when it ends."""
        process, private = host(compile_plugin(), tmp_path)
        assert list(tmp_path.iterdir()) == [private]
        end(process)

        assert list(tmp_path.iterdir()) == []

    def test_killed(self, compile_plugin: CompilePlugin, tmp_path: Path) -> None:
        """The next host removes the directory of a killed host, but not that of a running one."""
        killed, left = host(compile_plugin(), tmp_path)
        living, kept = host(compile_plugin(), tmp_path)
        killed.kill()
        killed.communicate()
        assert set(tmp_path.iterdir()) == {left, kept}
        third, its_own = host(compile_plugin(), tmp_path)

        assert set(tmp_path.iterdir()) == {kept, its_own}
        end(third)
        end(living)

    def test_of_others(self, compile_plugin: CompilePlugin, tmp_path: Path) -> None:
        """A directory that only has a matching name, such as a user's own, is not removed."""
        theirs = tmp_path / "backworks-notes"
        theirs.mkdir()
        (theirs / "notes.txt").touch()
        process, _ = host(compile_plugin(), tmp_path)
        end(process)

        assert (theirs / "notes.txt").exists()
