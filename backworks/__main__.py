"""The command ``backworks``, also as ``python -m backworks``."""

from __future__ import annotations

import sys

from backworks import __version__

__all__ = ["main"]


def main() -> None:
    """Runs the command."""
    if sys.argv[1:] == ["--version"]:  # scripts ask it often: in the words of click, without waiting for it
        print(f"backworks, version {__version__}")  # noqa: T201
        return
    from backworks.cli import main as command

    command(prog_name="backworks")


if __name__ == "__main__":
    main()
