"""Progress on stderr for long operations, if stderr is a terminal."""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress

__all__ = ["steps", "waiting"]

#: Seconds before progress is shown.
_DELAY = 0.5


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Shows a text and the elapsed seconds while the block runs, if it takes long."""
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()

    def show() -> None:
        if done.wait(_DELAY):
            return
        with _progress() as progress:
            progress.add_task(text, total=None)
            # A signal may kill this process, which would leave the cursor hidden.
            progress.console.show_cursor(True)
            done.wait()

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def steps(total: int) -> Iterator[Callable[[str], None]]:
    """Yields a function that shows which of ``total`` steps starts."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with _progress() as progress:
        task = progress.add_task("", total=total)
        started = 0

        def begin(text: str) -> None:
            nonlocal started
            progress.update(task, completed=started, description=text)
            started += 1

        yield begin


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, redirect_stdout=False)
