"""A terminal of the tests' own, with a command in it."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from pathlib import Path
from typing import Any

from test_cli import PATIENCE, start

__all__ = ["Terminal"]


class Terminal:
    """A command whose stdout and stderr are a terminal.

    Args:
        arguments: The command's.
        options: As for ``subprocess.Popen``; what is named here is not the terminal.
    """

    def __init__(self, *arguments: str | Path, **options: Any) -> None:
        import fcntl
        import pty
        import struct
        import termios

        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.process: subprocess.Popen[bytes] = start(*arguments, **{"stdout": theirs, "stderr": theirs, **options})
        os.close(theirs)
        self.text = ""

    def until(self, wanted: str | None) -> str:
        """Reads until a text has come, or with ``None`` until the command has closed the terminal; returns all."""
        end = time.monotonic() + PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(self._ours, selectors.EVENT_READ)
            while wanted is None or wanted not in self.text:
                assert selector.select(max(0.0, end - time.monotonic())), f"no {wanted!r} in {self.text!r}"
                try:
                    piece = os.read(self._ours, 65536)
                except OSError:  # Linux's way to say that the other side is closed
                    piece = b""
                if not piece:
                    assert wanted is None, f"it ended without {wanted!r}: {self.text!r}"
                    break
                self.text += piece.decode("utf-8", "replace")
        return self.text

    def ends(self) -> int:
        """Reads to the end, and returns the exit code."""
        try:
            self.until(None)
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self._ours)
