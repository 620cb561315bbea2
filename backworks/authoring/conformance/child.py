"""The process of one check: isolates itself, runs the check, and writes the verdict to a file."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any, NamedTuple

from backworks.authoring.conformance.catalogue import catalogue
from backworks.authoring.conformance.journal import Journal
from backworks.authoring.conformance.requests import Request
from backworks.authoring.conformance.results import Status, Verdict
from backworks.authoring.conformance.subject import Subject

__all__ = ["FILES", "Task", "execute", "plain", "run"]

#: The names of the files of a process, which are in the directory of its library.
FILES = frozenset({"task", "journal", "result", "result.new", "stdout", "stderr", "valgrind.xml"})

#: Imported before the first fork, so that no process has to import it.
_CHECKS = catalogue()

_PDEATHSIG, _CHILD_SUBREAPER = 1, 36
#: No process starts with a descriptor above this.
_DESCRIPTORS = 4096
#: The most bytes that a plugin may write to one file, such as its stderr.
_MOST_WRITTEN = 256 << 20


class Task(NamedTuple):
    """The work of one process.

    Attributes:
        check: The id of the check.
        library: The library, in a separate directory that also holds the files of the process, and links to the files
            beside the original.
        config: The plugin's configuration, as JSON.
        requests: The calls given by the plugin's author: method, endpoint and data, as Latin-1.
        seed, effort: As in :class:`~backworks.authoring.conformance.subject.Subject`.
        case: The only request to try, in the same form, or ``None``.
    """

    check: str
    library: str
    config: str
    requests: list[list[str]]
    seed: int
    effort: float
    case: list[str] | None = None

    @property
    def directory(self) -> Path:
        """The directory of its files: ``task``, ``journal``, ``result``, ``stdout`` and ``stderr``."""
        return Path(self.library).parent


def plain(request: Request) -> list[str]:
    """Returns a request in the form used in a task."""
    return [text.decode("latin-1") for text in request]


def _request(texts: list[str]) -> Request:
    return Request(*(text.encode("latin-1") for text in texts))


def run(task: Task) -> None:
    """Runs a check as the body of a forked process. Does not return."""
    execute(task, dies_with_parent=True)
    if _CHECKS[task.check].exits:
        ctypes.CDLL(None).exit(0)  # like a return from C's main: runs exit handlers and destructors
    os._exit(0)


def execute(task: Task, *, dies_with_parent: bool) -> None:
    """Runs a check and writes its verdict."""
    _be_alone(Path(task.library), dies_with_parent)
    journal = Journal(task.directory / "journal")
    subject = Subject(
        Path(task.library),
        task.config.encode(),
        tuple(map(_request, task.requests)),
        task.seed,
        task.effort,
        journal,
        None if task.case is None else _request(task.case),
    )
    verdict: dict[str, Any]
    try:
        found = _CHECKS[task.check].function(subject)
        verdict = {"status": Status.PASS, "found": found, "accepted": ""}
    except Verdict as raised:
        verdict = {"status": raised.status, "found": raised.found, "accepted": raised.accepted}
    except BaseException:  # noqa: BLE001  # every exception is reported
        # Not known to be the plugin's fault, although the plugin triggered it.
        traceback.print_exc()
        verdict = {
            "status": Status.FAIL,
            "found": f"the check itself failed during {Journal.read(task.directory / 'journal').text}: "
            f"{traceback.format_exc(limit=-2)}",
            "accepted": "no error in the check: please report it to the Backworks project, with the seed",
        }
    temporary = task.directory / "result.new"
    temporary.write_text(json.dumps(verdict), encoding="utf-8")
    temporary.replace(task.directory / "result")


def _be_alone(library: Path, dies_with_parent: bool) -> None:
    """Detaches this process from the one that started it, and limits its resources."""
    if sys.platform != "win32":
        import resource

        with contextlib.suppress(OSError):
            os.setsid()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        most = _MOST_WRITTEN + library.stat().st_size  # because one check copies it
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        os.closerange(3, _DESCRIPTORS)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if dies_with_parent:
            libc.prctl(_PDEATHSIG, 9, 0, 0, 0)
        libc.prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, library.with_name("stdout"), os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        (2, library.with_name("stderr"), os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    ):
        opened = os.open(name, flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
