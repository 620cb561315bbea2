"""One check in one process, from start to result."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from backworks.authoring.conformance import sanitizers, valgrind
from backworks.authoring.conformance.child import FILES, Task, plain
from backworks.authoring.conformance.journal import Journal
from backworks.authoring.conformance.launch import Launcher, sweep
from backworks.authoring.conformance.requests import PLAIN, Request, odd_requests
from backworks.authoring.conformance.results import BAD, Result, Status
from backworks.authoring.conformance.shrink import shrunk
from backworks.loading.mirror import Mirror

if TYPE_CHECKING:
    from backworks.authoring.conformance.catalogue import Check
    from backworks.authoring.conformance.launch import Running

__all__ = ["POLL", "Job", "Options", "Place"]

#: Seconds between two polls of a process.
POLL = 0.002

#: How many lines at the end of stderr are shown, and from how many bytes.
_LINES = 5
_TAIL = 1 << 14


@dataclass(frozen=True)
class Options:
    """How checks are run.

    Attributes:
        config: The plugin's configuration, as JSON.
        requests: Calls that the plugin answers.
        seed: The seed of all random data.
        timeout: Seconds for each check.
        valgrind: Whether each check runs under valgrind.
        effort: The fraction of repetitions to run; less than 1.0 still finds deterministic faults.
        jobs: How many checks run at the same time.
    """

    config: str = "{}"
    requests: tuple[Request, ...] = ()
    seed: int = 0
    timeout: float = 10.0
    valgrind: bool = False
    effort: float = 1.0
    jobs: int = max(2, min(8, os.cpu_count() or 2))


@dataclass
class Job:
    """A running check.

    Attributes:
        spent: The seconds it has run, counted by the runner.
    """

    check: Check
    task: Task
    process: Running
    began: float
    spent: float = 0.0


@dataclass(frozen=True)
class Place:
    """Where checks run.

    Attributes:
        home: A directory for the files of all processes.
        original: The plugin, beside which it may have files.
        library: The copy of the plugin in the directory.
        options: How they run.
        launcher: Starts the processes.
        slower: The factor by which the time limit is extended.
    """

    home: Path
    original: Path
    library: Path
    options: Options
    launcher: Launcher
    slower: float = 1.0

    @property
    def timeout(self) -> float:
        """The time limit of a check, in seconds."""
        return self.options.timeout * self.slower

    def start(self, check: Check, case: Request | None = None) -> Job:
        """Starts a check, or only one of its cases. Raises ``OSError``."""
        directory = Path(tempfile.mkdtemp(prefix=f"{check.id}-", dir=self.home))
        mirror = Mirror(directory)
        library = mirror.place(self.original.parent.resolve() / self.original.name)
        try:
            library.hardlink_to(self.library)
        except OSError:  # a file system without hard links
            shutil.copy(self.library, library)
        mirror.link(without=FILES)
        options = self.options
        task = Task(
            check.id,
            str(library),
            options.config,
            [plain(request) for request in options.requests],
            options.seed,
            valgrind.EFFORT if options.valgrind else options.effort,
            None if case is None else plain(case),
        )
        return Job(check, task, self.launcher.start(task), time.monotonic())

    def result(self, job: Job) -> Result | None:
        """Returns the result of a process that has ended or timed out; ``None`` if it may run on."""
        ended = job.process.ended()
        if ended is None and job.spent < self.timeout:
            return None
        seconds = time.monotonic() - job.began
        job.process.kill()
        directory = job.task.directory
        file, entry = directory / "result", Journal.read(directory / "journal")
        at = entry.text or "process startup"
        if ended is None:
            accepted = "a return in time; --timeout SECONDS raises the limit"
            found = f"{at} did not return within {self.timeout:g} s"
            result = Result(job.check.id, Status.TIMEOUT, found, accepted)
        elif not file.exists() or (ended.signal, ended.code) != (None, 0):
            how = str(ended)
            late = ", after the check was done" if file.exists() else ""
            result = Result(
                job.check.id, Status.CRASH, f"{at}: the process {how}{late}", "a return, without ending the process"
            )
            if entry.case is not None and not file.exists():
                result = self._shrunk(job.check, entry.case, result)
        else:
            verdict = json.loads(file.read_text("utf-8"))
            result = Result(job.check.id, Status(verdict["status"]), verdict["found"], verdict["accepted"])
        if self.options.valgrind and result.status not in BAD:
            result = valgrind.judge(result, directory, Path(job.task.library))
        if result.status in BAD:
            sweep(directory)  # now, because leftover processes may use resources that other checks need
        quiet = result.status in (Status.PASS, Status.SKIPPED)
        stderr = () if quiet else _last_lines(directory / "stderr")
        shutil.rmtree(directory, ignore_errors=True)
        return replace(result, seconds=seconds, stderr=stderr)

    def _shrunk(self, check: Check, number: int, result: Result) -> Result:
        """Finds the smallest data that crashes the plugin."""
        case = odd_requests(self.options.seed, number + 1, (*self.options.requests, *PLAIN))[number]

        def crashes(request: Request) -> bool:
            again = self.start(check, request)
            while (ended := again.process.ended()) is None and time.monotonic() < again.began + self.timeout:
                time.sleep(POLL)
            crashed = ended is not None and not (again.task.directory / "result").exists()
            again.process.kill()
            shutil.rmtree(again.task.directory, ignore_errors=True)
            return crashed

        smallest = shrunk(case, crashes)
        if smallest is None:
            return replace(result, found=f"{result.found}; only after the {number} requests before it")
        return replace(result, found=f"{smallest}: {result.found.rpartition(': ')[2]}; found with {case}")


def _last_lines(file: Path) -> tuple[str, ...]:
    try:
        with file.open("rb") as opened:
            opened.seek(max(0, file.stat().st_size - _TAIL))
            text = opened.read().decode("utf-8", "replace")
    except OSError:
        return ()
    lines = ["".join(c if c.isprintable() else "?" for c in line.expandtabs(2))[:200] for line in text.splitlines()]
    return tuple(sanitizers.headline([line for line in lines if line.strip()])[-_LINES:])
