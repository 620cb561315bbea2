"""Runs the checks, several at the same time, each after those that it depends on."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from backworks.authoring.conformance import sanitizers, valgrind
from backworks.authoring.conformance.catalogue import catalogue
from backworks.authoring.conformance.jobs import POLL, Job, Options, Place
from backworks.authoring.conformance.launch import Launcher, sweep
from backworks.authoring.conformance.results import BAD, Result, Status
from backworks.loading.inspection import inspect_library
from backworks.loading.private import private_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from backworks.authoring.conformance.catalogue import Check

__all__ = ["Options", "run"]

#: The most seconds between two polls that count, so that a suspended machine does not time out a plugin.
_STEP = 0.1

#: The check for processes that calls leave behind. If it fails, they are killed after every check.
_UNTIDY = "children-left"

_PROCESS_ONLY = 'the manifest has "isolation": ["process"], so the library never shares a process with others'


def run(library: Path, checks: Iterable[Check], options: Options, report: Callable[[Result], None]) -> list[Result]:
    """Runs checks on a plugin.

    Args:
        library: The plugin's file.
        checks: The checks to run. Dependencies that are not among them count as passed.
        options: How to run them.
        report: Called with each result as soon as it is known.

    Returns:
        The results, in the order of the catalogue.

    Raises:
        PluginLoadError: The file cannot be read, or is not a library.
        OSError: A process cannot be started.
    """
    info = inspect_library(library)
    alone = (info.manifest or {}).get("isolation") == ["process"]
    wanted = {check.id: check for check in checks}
    results: dict[str, Result] = {}

    def add(result: Result) -> None:
        results[result.id] = result
        report(result)

    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(dir=private_directory(), ignore_cleanup_errors=True))
        home = Path(name).resolve()
        stack.callback(sweep, home)
        copy = Path(shutil.copy(library, home / library.name))
        environment = sanitizers.environment(info.needed)
        tool = valgrind.command() if options.valgrind else ()
        # Tools that check each memory access are slow.
        slower = valgrind.SLOWER if options.valgrind else sanitizers.SLOWER if environment else 1.0
        launcher = stack.enter_context(Launcher(tool, environment))
        place = Place(home, library.absolute(), copy, options, launcher, slower)
        running: list[Job] = []
        last = time.monotonic()
        while len(results) < len(wanted):
            while decided := list(_decided(wanted, results, alone)):
                for result in decided:
                    add(result)
            for check in _ready(wanted, results, {job.check.id for job in running}):
                if len(running) < options.jobs:
                    running.append(place.start(check))
            time.sleep(POLL)
            now = time.monotonic()
            step, last = min(now - last, _STEP), now
            for job in [*running]:
                job.spent += step
                if (outcome := place.result(job)) is not None:
                    running.remove(job)
                    add(outcome)
                    if _UNTIDY in results and results[_UNTIDY].status in BAD:
                        sweep(job.task.directory)
    return [results[each] for each in catalogue() if each in results]


def _decided(wanted: dict[str, Check], results: dict[str, Result], alone: bool) -> Iterator[Result]:
    """Yields the results of checks that need not run."""
    for check in wanted.values():
        if check.id in results:
            continue
        for need in check.needs:
            if (result := results.get(need)) and (cause := need if result.status in BAD else result.blocked_by):
                why = f"{cause} did not pass, and this check depends on it"
                yield Result(check.id, Status.SKIPPED, why, blocked_by=cause)
                break
        else:
            if check.in_process and alone:
                yield Result(check.id, Status.SKIPPED, _PROCESS_ONLY)


def _ready(wanted: dict[str, Check], results: dict[str, Result], running: set[str]) -> list[Check]:
    return [
        check
        for check in wanted.values()
        if check.id not in results
        and check.id not in running
        and all(need in results or need not in wanted for need in check.needs)
    ]
