"""What takes long shows that it goes on: on a terminal, on stderr, and never in a pipe."""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress

__all__ = ["steps", "waiting"]

#: Seconds that nobody needs an explanation for.
_SOON = 0.5


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Shows a text and the seconds that have passed, if the block takes long."""
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()

    def show() -> None:
        if done.wait(_SOON):
            return
        with _progress() as progress:
            progress.add_task(text, total=None)
            # A signal may end this process at once, and nobody would bring the cursor back.
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
    """Gives a function that shows which of so many steps begins now."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with _progress() as progress:
        task = progress.add_task("", total=total)
        begun = 0

        def begin(text: str) -> None:
            nonlocal begun
            progress.update(task, completed=begun, description=text)
            begun += 1

        yield begin


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, redirect_stdout=False)
