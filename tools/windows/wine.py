"""Finds Wine, creates its prefix, and runs Windows programs in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tools.steps import cache, fail, install_debian, run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["CACHE", "C_DRIVE", "environment", "make_prefix", "run_there", "stop", "version"]

CACHE = cache("backworks-test-windows")
#: Wine's prefix, and the drive C: in it.
PREFIX = CACHE / "wine"
C_DRIVE = PREFIX / "drive_c"

#: Debian installs Wine outside the PATH.
_PLACES = (Path("/usr/lib/wine"), Path("/usr/lib/x86_64-linux-gnu/wine"))


def _find(name: str) -> Path | None:
    found = shutil.which(name)
    if found:
        return Path(found)
    return next((place / name for place in _PLACES if (place / name).exists()), None)


def _wine() -> Path:
    if (found := _find("wine64") or _find("wine")) is not None:
        return found
    install_debian({"wine64": "wine64"})
    return _find("wine64") or fail("apt-get installed wine64, but there is no program of that name")


def environment(more: Mapping[str, str] = {}) -> dict[str, str]:
    """Returns the environment for Windows programs."""
    return (
        os.environ
        | {
            "WINEPREFIX": str(PREFIX),
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": "mscoree,mshtml=",  # prevents the prompts to install .NET and a browser
            "WINEPATH": r"C:\tools",
        }
        | more
    )


def version() -> str:
    """Returns Wine's name and version."""
    return run(_wine(), "--version", what="Wine does not start").strip()


def make_prefix() -> None:
    """Creates the prefix, configured as Windows 10."""
    shutil.rmtree(PREFIX, ignore_errors=True)
    PREFIX.parent.mkdir(parents=True, exist_ok=True)
    run(_wine(), "wineboot", "--init", what="cannot create the prefix", env=environment())
    add = [r"HKCU\Software\Wine", "/v", "Version", "/d", "win10", "/f"]
    run(_wine(), "reg", "add", *add, what="cannot configure Wine as Windows 10", env=environment())
    debug = (
        r"HKLM\Software\Microsoft\Windows NT\CurrentVersion\AeDebug"  # takes seconds, and hides a plugin's last output
    )
    run(
        _wine(),
        "reg",
        "add",
        debug,
        "/v",
        "Debugger",
        "/d",
        "",
        "/f",
        what="cannot disable Wine's debugger",
        env=environment(),
    )
    (C_DRIVE / "tools").mkdir()


def run_there(command: Sequence[str | Path], directory: Path, more: Mapping[str, str] = {}) -> int:
    """Runs a Windows program with its output on stdout; returns its exit code.

    The output goes through a pipe, because Wine turns a terminal into neither a Windows console nor a terminal.
    """
    line = [str(_wine()), *map(str, command)]
    with subprocess.Popen(
        line,
        cwd=directory,
        env=environment(more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        copying = threading.Thread(target=_copy, args=(process.stdout,))
        copying.start()
        code = process.wait()
        stop()  # Wine's services, which also hold the pipe
        copying.join()
        return code


def _copy(pipe: IO[bytes]) -> None:
    while some := os.read(pipe.fileno(), 1 << 16):
        os.write(1, some)


def stop() -> None:
    """Kills everything that still runs in the prefix."""
    server = _find("wineserver64") or _find("wineserver")
    if server is not None and PREFIX.exists():
        subprocess.run([str(server), "--kill"], env=environment(), check=False)
