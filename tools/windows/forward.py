"""Runs a program of this system on behalf of forward.c, a Windows program under Wine.

Called with the port to write to, the name of the tool, and its arguments, which contain Windows paths.
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
#: Zig's cache, filled in by the setup, because a Windows program would use another directory.
CACHE = "{cache}"
#: The compiler's default target.
WINDOWS = ("-target", "x86_64-windows-gnu")
#: A path in an argument: alone, after an option such as -I, or after NAME=.
PATH = re.compile(r"(?P<option>-[ILo]|[A-Z]+=)?(?P<drive>[A-Za-z]):[\\/](?P<rest>.*)", re.DOTALL)


def unix(argument: str) -> str:
    """Returns an argument with its path converted to this system's form."""
    found = PATH.fullmatch(argument)
    if found is None:
        return argument
    drive = Path(os.environ["WINEPREFIX"], "dosdevices", f"{found['drive'].lower()}:").resolve()
    return (found["option"] or "") + str(drive / found["rest"].replace("\\", "/"))


def command(tool: str, arguments: list[str]) -> list[str]:
    """Returns the command to run."""
    if tool == "zig":
        return [*ZIG, *map(unix, arguments)]
    if tool in ("cc", "c++"):
        target = () if "-target" in arguments else WINDOWS
        return [*ZIG, tool, *target, *map(unix, arguments)]
    if tool == "make":
        # Make starts programs of this system, where the compiler has another name.
        given = [_compiler(argument) or unix(argument) for argument in arguments]
        if not any(argument.startswith("CC=") for argument in given):
            given.append(_CC)
        return ["make", *given]
    sys.exit(f"forward: unknown tool {tool}")


_CC = f"CC={' '.join([*ZIG, 'cc', *WINDOWS])}"


def _compiler(argument: str) -> str | None:
    """Returns the converted argument if it sets make's compiler, or else ``None``."""
    if found := re.fullmatch(r"CC=(?:\S*[\\/])?cc(?:\.exe)?( .*)?", argument, re.IGNORECASE):
        return _CC + (found[1] or "")
    found = re.fullmatch(r"CC=\S*python\S* (-m ziglang cc.*)", argument)
    return found and f"CC={sys.executable} {found[1]}"


def main(port: str, tool: str, *arguments: str) -> None:
    """Runs the tool; sends back its exit code and output."""
    with socket.create_connection(("127.0.0.1", int(port))) as back:
        line = command(tool, list(arguments))
        environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": CACHE, "ZIG_LOCAL_CACHE_DIR": CACHE}
        done = subprocess.run(line, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        back.sendall(struct.pack("<II", done.returncode & 0xFF, len(done.stdout)) + done.stdout + done.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
