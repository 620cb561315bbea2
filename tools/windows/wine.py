"""Wine: finds it, makes its prefix, and runs programs of Windows in it."""

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
#: Wine's prefix, and what Windows calls C: there.
PREFIX = CACHE / "wine"
C_DRIVE = PREFIX / "drive_c"

#: Debian puts it beside the PATH.
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
    return _find("wine64") or fail("apt-get has installed wine64, and there is no program of that name")


def environment(more: Mapping[str, str] = {}) -> dict[str, str]:
    """Returns the environment that programs of Windows run in."""
    return (
        os.environ
        | {
            "WINEPREFIX": str(PREFIX),
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": "mscoree,mshtml=",  # neither .NET nor a browser is wanted, nor the questions about them
            "WINEPATH": r"C:\tools",
        }
        | more
    )


def version() -> str:
    """Returns Wine's own name and version."""
    return run(_wine(), "--version", what="Wine does not start").strip()


def make_prefix() -> None:
    """Makes the prefix, as a Windows 10."""
    shutil.rmtree(PREFIX, ignore_errors=True)
    PREFIX.parent.mkdir(parents=True, exist_ok=True)
    run(_wine(), "wineboot", "--init", what="no prefix", env=environment())
    add = [r"HKCU\Software\Wine", "/v", "Version", "/d", "win10", "/f"]
    run(_wine(), "reg", "add", *add, what="Wine is no Windows 10", env=environment())
    debug = r"HKLM\Software\Microsoft\Windows NT\CurrentVersion\AeDebug"  # takes seconds, and a plugin's last words
    run(_wine(), "reg", "add", debug, "/v", "Debugger", "/d", "", "/f", what="Wine's debugger stays", env=environment())
    (C_DRIVE / "tools").mkdir()


def run_there(command: Sequence[str | Path], directory: Path, more: Mapping[str, str] = {}) -> int:
    """Runs a program of Windows with this one's output, and returns its exit code.

    Its output goes through a pipe: what Wine makes of a terminal is no console of Windows, nor a terminal.
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
        stop()  # Wine's services, which hold the pipe as well
        copying.join()
        return code


def _copy(pipe: IO[bytes]) -> None:
    while some := os.read(pipe.fileno(), 1 << 16):
        os.write(1, some)


def stop() -> None:
    """Ends whatever still runs in the prefix."""
    server = _find("wineserver64") or _find("wineserver")
    if server is not None and PREFIX.exists():
        subprocess.run([str(server), "--kill"], env=environment(), check=False)
