"""Where the worker program is, and how it is started; what differs between systems is in ``posix`` and ``windows``."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if sys.platform == "win32":
    from backworks.isolation.process.windows import Pipes, Process, start
else:
    from backworks.isolation.process.posix import Pipes, Process, start

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Pipes", "Process", "program", "spawn"]

#: What nothing starts without.
_ALWAYS = ("SYSTEMROOT",) if sys.platform == "win32" else ()


@functools.cache
def program() -> Path:
    """Finds the worker program: it is installed beside the compiled module, however the package was.

    Raises:
        FileNotFoundError: It is not there.
    """
    found = importlib.util.find_spec("backworks.ffi._native")
    if found is None or found.origin is None:
        raise FileNotFoundError(
            "the worker program is not installed, since this installation of Backworks has no compiled part; install "
            "a wheel, or use isolation: thread"
        )
    path = Path(found.origin).parents[1] / "bin" / ("backworks-worker" + (".exe" if sys.platform == "win32" else ""))
    if not path.is_file():
        raise FileNotFoundError(f"the worker program {path} is missing; install Backworks again")
    return path


def spawn(
    environment: Iterable[str], options: Sequence[str] = (), descriptors: Sequence[int] = ()
) -> tuple[Process, Pipes]:
    """Starts a worker.

    Args:
        environment: The names of the variables that it gets, of those that are set.
        options: More options for it.
        descriptors: What it inherits beside its pipes.

    Raises:
        OSError: It cannot be started, or is not there.
    """
    variables = {name: os.environ[name] for name in (*_ALWAYS, *environment) if name in os.environ}
    return start(program(), options, descriptors, variables)
