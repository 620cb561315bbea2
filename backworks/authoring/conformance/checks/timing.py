"""How long things take, and whether limits are seen."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

from backworks.authoring.conformance.catalogue import check
from backworks.authoring.conformance.results import Failed, Skipped, Warned
from backworks.errors import Code

if TYPE_CHECKING:
    from collections.abc import Callable

    from backworks.authoring.conformance.subject import Subject

_LOAD = 0.1
_SOON = 1.0
_TIMES = 5
_SHORT = 0.05
#: An effort below which the processor is not what it was.
_SLOW = 0.1


def _fastest(function: Callable[[], object], times: int = 3) -> float:
    best = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - began)
        if best < _LOAD / 2:
            break
    return best


@check("time", "Loading a library must take less than 100 ms", needs=("opens",))
def opens_soon(subject: Subject) -> str:
    """The library is open within 100 ms."""
    alone = subject.manifest.get("isolation") == ["process"]  # such a runtime is started once in a process
    if subject.effort < _SLOW:
        raise Skipped("under valgrind nothing is soon")
    spent = float("inf")
    for number in range(1 if alone else _TIMES):
        # Another file each time: a library that is open already is not loaded again.
        copy = subject.path.with_name(f"{number}-{subject.path.name}")
        shutil.copyfile(subject.path, copy)
        began = time.perf_counter()
        subject.open(copy)
        spent = min(spent, time.perf_counter() - began)
        if spent < _LOAD / 2:
            break
    if spent > _LOAD:
        raise Warned(
            f"opening the library took {spent * 1000:,.0f} ms at best", "100 ms; what takes longer is for init"
        )
    return f"{spent * 1000:,.1f} ms"


@check("time", "Must return within a second", needs=("health-check",))
def health_check_soon(subject: Subject) -> str:
    """The health check returns within a second."""
    if not subject.has("health_check"):
        raise Skipped("the library does not export backworks_plugin_health_check, which is optional")
    instance = subject.start()
    spent = _fastest(instance.health_check)
    if spent > _SOON:
        raise Failed(f"health_check() took {spent:,.2f} s at best of three", "less than a second")
    return f"{spent * 1000:,.2f} ms"


@check("time", "or 0 for no limit")
def deadline_none(subject: Subject) -> str:
    """Without a limit, or with one of an hour, no call ends for want of time, and answers are the same."""
    instance = subject.start()
    expected = subject.steady(instance)
    for limit in (0, 3600 * 10**9, 2**64 - 1):
        for request in subject.requests:
            answer = instance.call(request, limit)
            if answer.code == Code.DEADLINE_EXCEEDED:
                raise Failed(
                    f"{request} with time_left_ns {limit} ({'no limit' if limit == 0 else f'{limit / 1e9:,.0f} s'}) "
                    f"returned {answer}",
                    "no DEADLINE_EXCEEDED: the time is not over",
                )
            if answer != expected.get(request, answer):
                raise Failed(
                    f"{request} with time_left_ns {limit} returned {answer}, else {expected[request]}", "the same"
                )
    return f"{3 * len(subject.requests)} calls without a limit, with an hour, and with all the time in the world"


@check("time", "Nanoseconds left for this call when it starts")
def deadline_short(subject: Subject) -> str:
    """A call with next to no time left comes back with an answer or a code, and in time or not much later."""
    instance = subject.start()
    slowest, slow = 0.0, subject.requests[0]
    for limit in (1, 1000, int(_SHORT * 1e9)):
        for request in subject.requests:
            began = time.perf_counter()
            instance.call(request, limit)
            spent = time.perf_counter() - began
            if spent > slowest:
                slowest, slow = spent, request
    if slowest > _SHORT + _SOON:
        raise Warned(
            f"{slow} with 50 ms left or less took {slowest:,.2f} s",
            "DEADLINE_EXCEEDED once time_left_ns is over; the host does not wait, and the worker is ended",
        )
    return f"{3 * len(subject.requests)} calls with 1 ns, 1 µs and 50 ms; the slowest took {slowest * 1000:,.1f} ms"
