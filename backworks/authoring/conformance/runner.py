"""Runs the checks: several at a time, each when those that it needs have passed."""

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
from backworks.loading.staging import private_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from backworks.authoring.conformance.catalogue import Check

__all__ = ["Options", "run"]

#: Seconds between two looks, of which more does not count: a machine that stood still is not held against the plugin.
_STEP = 0.1

#: The check that tells whether calls leave processes behind, which then have to be ended after every check.
_UNTIDY = "children-left"

_PROCESS_ONLY = (
    'the manifest allows only "isolation": ["process"], where the library has no neighbours and ends with its process'
)


def run(library: Path, checks: Iterable[Check], options: Options, tell: Callable[[Result], None]) -> list[Result]:
    """Runs checks, and the plugin with each.

    Args:
        library: The plugin's file.
        checks: Those to run. What one of them needs and is not among them counts as passed.
        options: How to run them.
        tell: Called with each result as it comes.

    Returns:
        The results, in the order of the catalogue.

    Raises:
        PluginLoadError: The file cannot be read, or is no library.
        OSError: A process cannot be started.
    """
    info = inspect_library(library)
    alone = (info.manifest or {}).get("isolation") == ["process"]
    wanted = {check.id: check for check in checks}
    results: dict[str, Result] = {}

    def add(result: Result) -> None:
        results[result.id] = result
        tell(result)

    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(dir=private_directory(), ignore_cleanup_errors=True))
        home = Path(name).resolve()
        stack.callback(sweep, home)
        copy = Path(shutil.copy(library, home / library.name))
        environment = sanitizers.environment(info.needed)
        tool = valgrind.command() if options.valgrind else ()
        # Tools that look at each access take their time.
        slower = valgrind.SLOWER if options.valgrind else sanitizers.SLOWER if environment else 1.0
        launcher = stack.enter_context(Launcher(tool, environment))
        place = Place(home, copy, options, launcher, slower)
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
    """Yields results of checks that need not be run."""
    for check in wanted.values():
        if check.id in results:
            continue
        for need in check.needs:
            if (result := results.get(need)) and (cause := need if result.status in BAD else result.blocked_by):
                why = f"{cause} did not pass, so that this could tell nothing"
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
