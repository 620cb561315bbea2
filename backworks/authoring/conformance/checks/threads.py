"""Calls from different threads, and from several at the same time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

from backworks.authoring.conformance.catalogue import check
from backworks.authoring.conformance.results import Failed, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable

    from backworks.authoring.conformance.requests import Request
    from backworks.authoring.conformance.subject import Answer, Instance, Subject

_Result = TypeVar("_Result")

_THREADS = 16
_SECONDS = 0.7


def _at_once(function: Callable[[int], object], count: int = _THREADS) -> None:
    """Runs a function in threads that start together; raises the first exception of one of them."""
    raised: list[BaseException] = []
    start = threading.Barrier(count)

    def body(number: int) -> None:
        try:
            start.wait()
            function(number)
        except BaseException as error:  # noqa: BLE001  # raised again below
            raised.append(error)

    threads = [threading.Thread(target=body, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


def _elsewhere(function: Callable[[], _Result]) -> _Result:
    found: list[_Result] = []
    _at_once(lambda _: found.append(function()), 1)
    return found[0]


def _check_all(subject: Subject, instance: Instance, expected: dict[Request, Answer], who: str) -> int:
    rounds = 0
    for _ in subject.deadline(_SECONDS):
        rounds += 1
        for request, answer in expected.items():
            found = instance.call(request)
            if found != answer:
                raise Failed(f"{request} returned {answer} to one thread; {who}, {found}", "the same answer")
    return rounds


@check(
    "threads",
    "[concurrent]   other [concurrent] calls with the same instance may be running",
    needs=("threads-foreign", "threads-free"),
)
def threads_same_answers(subject: Subject) -> str:
    """One instance gives 16 concurrent threads the same answers as one thread."""
    if subject.manifest.get("thread_safe", True) is False:
        raise Skipped('the manifest has "thread_safe": false, so the host makes one call at a time')
    instance = subject.start()
    expected = subject.steady(instance)
    if not expected:
        raise Skipped("no request gets the same answer twice, so answers cannot be compared")
    rounds = [0] * _THREADS

    def ask(number: int) -> None:
        rounds[number] = _check_all(subject, instance, expected, f"with {_THREADS} concurrent threads")

    _at_once(ask)
    instance.shutdown()
    return f"{sum(rounds) * len(expected):,} calls from {_THREADS} threads"


@check("threads", "from a thread that the library has not seen before", needs=("restarts",))
def threads_foreign(subject: Subject) -> str:
    """Init, calls and shutdown may each come from a different thread, which ends before the next starts."""
    alone = subject.start()
    expected = subject.steady(alone)
    alone.shutdown()
    made = _elsewhere(subject.start)
    for request, answer in expected.items():
        found = _elsewhere(lambda asked=request: made.call(asked))  # type: ignore[misc]
        if found != answer:
            raise Failed(f"{request} returned {answer} on the thread of init, {found} on another", "the same answer")
    _elsewhere(made.shutdown)
    return f"init, {len(expected)} calls and shutdown from {len(expected) + 2} threads"


@check("threads", "A library may have several", needs=("threads-foreign", "threads-free", "instances-together"))
def threads_instances(subject: Subject) -> str:
    """Several instances, each called from its own thread at the same time, answer like a single one."""
    alone = subject.start()
    expected = subject.steady(alone)
    instances = [subject.start() for _ in range(4)]
    _at_once(
        lambda number: _check_all(
            subject, instances[number], expected, "one of four instances, each in its own thread"
        ),
        4,
    )
    for instance in instances:
        instance.shutdown()
    return "four instances in four threads"


@check("threads", "from any thread, including several at once", needs=("identity-static",))
def threads_identity(subject: Subject) -> str:
    """Name and version are the same on 16 concurrent threads, before any instance is created."""
    names = [name for name in ("name", "version", "description") if subject.has(name)]
    seen: dict[str, set[bytes | None]] = {name: set() for name in names}

    def ask(_: int) -> None:
        for _ in range(50):
            for name in names:
                seen[name].add(subject.text(name)[1])

    _at_once(ask)
    for name, texts in seen.items():
        if len(texts) != 1:
            raise Failed(f"{name}() returned {texts} on {_THREADS} threads", "always the same text")
    return f"{', '.join(f'{name}()' for name in names)} in {_THREADS} threads"


@check("threads", "Frees memory that this library returned", needs=("answers-kept", "children-left"))
def threads_free(subject: Subject) -> str:
    """Answers may be freed by another thread than the caller's, and by several at the same time."""
    instance = subject.start()
    kept = [instance.keep(request) for request in subject.requests for _ in range(16)]

    def free(number: int) -> None:
        for code, response in kept[number::_THREADS]:
            subject.take(code, response)

    subject.journal.write(f"free_string() of {len(kept)} answers on {_THREADS} threads")
    _at_once(free)
    return f"{len(kept)} answers freed on {_THREADS} threads"
