"""Private copies of libraries: how they are made and removed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import PATIENCE

from backworks.loading.staging import stage

if TYPE_CHECKING:
    from conftest import CompilePlugin

#: Loads a plugin, says where its copy is, and waits to be told to end, or to be killed.
HOST = """
import sys, backworks, backworks.loading.staging
plugin = backworks.load(sys.argv[1])
print(backworks.loading.staging.private_directory(), flush=True)
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


def test_copy(tmp_path: Path) -> None:
    """The copy has the content of the file, its path contains their hash, and equal content shares one copy."""
    file = tmp_path / "some.so"
    file.write_bytes(b"bytes")
    first = stage(file)

    assert first.sha256 == hashlib.sha256(b"bytes").hexdigest()
    assert (first.path.parent.name, first.path.name) == (first.sha256, "some.so")
    assert first.path.read_bytes() == b"bytes"
    assert stage(file) == first
    file.write_bytes(b"other bytes")
    assert stage(file).path != first.path
    assert first.path.read_bytes() == b"bytes"


def test_nothing_half_done(tmp_path: Path) -> None:
    """A file that cannot be read leaves nothing in the private directory."""
    file = tmp_path / "some.so"
    file.write_bytes(b"some bytes")
    private = stage(file).path.parent.parent
    before = set(private.iterdir())
    with pytest.raises(OSError, match="directory|denied"):
        stage(tmp_path)

    assert set(private.iterdir()) == before


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
