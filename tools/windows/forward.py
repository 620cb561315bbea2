"""Runs a program of this system for forward.c, which is a program of Windows under Wine.

Called with the port to write to, the name of the tool, and its arguments, in which paths are those of Windows.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import sys
from pathlib import Path

ZIG = (sys.executable, "-m", "ziglang")
#: Where Zig keeps what it built: the set-up writes it here, for a program of Windows would name another place.
CACHE = "{cache}"
#: What a compiler makes if nobody says what to make.
WINDOWS = ("-target", "x86_64-windows-gnu")
#: An argument that is a path: alone, behind -I and the like, or behind NAME=.
PATH = re.compile(r"(?P<option>-[ILo]|[A-Z]+=)?(?P<drive>[A-Za-z]):[\\/](?P<rest>.*)", re.DOTALL)


def unix(argument: str) -> str:
    """Returns an argument with the path in it as this system knows it."""
    found = PATH.fullmatch(argument)
    if found is None:
        return argument
    drive = Path(os.environ["WINEPREFIX"], "dosdevices", f"{found['drive'].lower()}:").resolve()
    return (found["option"] or "") + str(drive / found["rest"].replace("\\", "/"))


def command(tool: str, arguments: list[str]) -> list[str]:
    """Returns what to run."""
    if tool == "zig":
        return [*ZIG, *map(unix, arguments)]
    if tool in ("cc", "c++"):
        target = () if "-target" in arguments else WINDOWS
        return [*ZIG, tool, *target, *map(unix, arguments)]
    if tool == "make":
        # Make starts programs of this side: the compiler that is meant there has another name here.
        given = [_compiler(argument) or unix(argument) for argument in arguments]
        if not any(argument.startswith("CC=") for argument in given):
            given.append(_CC)
        return ["make", *given]
    sys.exit(f"forward: there is no tool {tool}")


_CC = f"CC={' '.join([*ZIG, 'cc', *WINDOWS])}"


def _compiler(argument: str) -> str | None:
    """Returns what sets make's compiler, if the argument does."""
    if found := re.fullmatch(r"CC=(?:\S*[\\/])?cc(?:\.exe)?( .*)?", argument, re.IGNORECASE):
        return _CC + (found[1] or "")
    found = re.fullmatch(r"CC=\S*python\S* (-m ziglang cc.*)", argument)
    return found and f"CC={sys.executable} {found[1]}"


def main(port: str, tool: str, *arguments: str) -> None:
    """Runs the tool and passes on how it went."""
    with socket.create_connection(("127.0.0.1", int(port))) as back:
        line = command(tool, list(arguments))
        environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": CACHE, "ZIG_LOCAL_CACHE_DIR": CACHE}
        done = subprocess.run(line, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        back.sendall(struct.pack("<II", done.returncode & 0xFF, len(done.stdout)) + done.stdout + done.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
