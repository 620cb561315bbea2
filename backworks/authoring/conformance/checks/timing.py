"""Durations, and whether the plugin respects deadlines."""

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
#: Below this effort the processor is simulated, and durations mean nothing.
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
    """The library opens within 100 ms."""
    alone = subject.manifest.get("isolation") == ["process"]  # its runtime may start only once per process
    if subject.effort < _SLOW:
        raise Skipped("durations under valgrind mean nothing")
    spent = float("inf")
    for number in range(1 if alone else _TIMES):
        # A new copy each time, because a library that is already open is not loaded again.
        copy = subject.path.with_name(f"{number}-{subject.path.name}")
        copy.unlink(missing_ok=True)  # it may be a link to a file beside the original
        shutil.copyfile(subject.path, copy)
        began = time.perf_counter()
        subject.open(copy)
        spent = min(spent, time.perf_counter() - began)
        if spent < _LOAD / 2:
            break
    if spent > _LOAD:
        raise Warned(
            f"opening the library took {spent * 1000:,.0f} ms at best", "at most 100 ms; move slow work to init"
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
    """Without a deadline, or with one in an hour, no call returns DEADLINE_EXCEEDED, and answers are the same."""
    instance = subject.start()
    expected = subject.steady(instance)
    for limit in (0, 3600 * 10**9, 2**64 - 1):
        for request in subject.requests:
            answer = instance.call(request, limit)
            if answer.code == Code.DEADLINE_EXCEEDED:
                raise Failed(
                    f"{request} with time_left_ns {limit} ({'no limit' if limit == 0 else f'{limit / 1e9:,.0f} s'}) "
                    f"returned {answer}",
                    "no DEADLINE_EXCEEDED, because the deadline has not passed",
                )
            if answer != expected.get(request, answer):
                raise Failed(
                    f"{request} with time_left_ns {limit} returned {answer}, otherwise {expected[request]}",
                    "the same answer",
                )
    return f"{3 * len(subject.requests)} calls without a deadline, with an hour, and with the longest time possible"


@check("time", "Nanoseconds left for this call when it starts")
def deadline_short(subject: Subject) -> str:
    """A call with almost no time left returns an answer or a code soon after its deadline."""
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
            "DEADLINE_EXCEEDED when time_left_ns is over; otherwise the host gives up and kills the worker process",
        )
    return f"{3 * len(subject.requests)} calls with 1 ns, 1 µs and 50 ms; the slowest took {slowest * 1000:,.1f} ms"
