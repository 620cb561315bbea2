"""Finds and starts the worker program; ``linux``, ``posix`` and ``windows`` contain the platform's part."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if sys.platform == "win32":
    from backworks.isolation.process.windows import Pipes, Process, start
elif sys.platform == "linux":
    from backworks.isolation.process.linux import Pipes, Process, start
else:
    from backworks.isolation.process.posix import Pipes, Process, start

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Pipes", "Process", "program", "spawn"]

#: Variables without which no process can start.
_ALWAYS = ("SYSTEMROOT",) if sys.platform == "win32" else ()


@functools.cache
def program() -> Path:
    """Returns the worker program, which is installed beside the compiled module.

    Raises:
        FileNotFoundError: The program is not installed.
    """
    found = importlib.util.find_spec("backworks.ffi._native")
    if found is None or found.origin is None:
        raise FileNotFoundError(
            "the worker program is missing because this installation of Backworks has no compiled part; install a "
            "wheel, or use isolation: thread"
        )
    path = Path(found.origin).parents[1] / "bin" / ("backworks-worker" + (".exe" if sys.platform == "win32" else ""))
    if not path.is_file():
        raise FileNotFoundError(f"the worker program {path} is missing; reinstall Backworks")
    return path


def spawn(
    environment: Iterable[str], options: Sequence[str] = (), descriptors: Sequence[int] = ()
) -> tuple[Process, Pipes]:
    """Starts a worker.

    Args:
        environment: The names of the variables that it receives, if they are set.
        options: Further options of the program.
        descriptors: The descriptors that it inherits in addition to its pipes.

    Raises:
        OSError: The program is missing or cannot be started.
    """
    variables = {name: os.environ[name] for name in (*_ALWAYS, *environment) if name in os.environ}
    return start(program(), options, descriptors, variables)
