"""The command ``backworks``, also as ``python -m backworks``."""

from __future__ import annotations

import os
import sys

from backworks import __version__

__all__ = ["main"]


def _open_streams() -> None:
    """Opens the null device in place of each standard stream that the shell closed, as with ``2>&-``.

    Otherwise the next file that the process opens takes the number, and output for the stream goes into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def main() -> None:
    """Runs the command."""
    _open_streams()
    if sys.argv[1:] == ["--version"]:  # scripts ask it often: in the words of click, without waiting for it
        print(f"backworks, version {__version__}")  # noqa: T201
        return
    from backworks.cli import main as command

    command(prog_name="backworks")


if __name__ == "__main__":
    main()
