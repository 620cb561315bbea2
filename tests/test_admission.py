"""The door of a plugin: the table of its life, and the gate, which is written twice."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from conftest import missing

from backworks import ffi
from backworks.errors import PluginStateError, PluginUnavailable
from backworks.ffi.contract import Reply
from backworks.isolation.admission import TRANSITIONS, Admission, Ending, Gate, PythonGate, State
from backworks.isolation.threadpool import ThreadPool

EVENTS = sorted({event for _, event in TRANSITIONS})
PATIENCE = 30


class Instant:
    """A runner whose calls return at once."""

    state = State.RUNNING
    in_flight = 0
    is_inherited = False

    def __init__(self, ending: Ending = Ending.PEACEFUL, inside: Callable[[], object] = lambda: None) -> None:
        self.ending = ending
        self.ended: list[bool] = []
        self._inside = inside

    def process(self, *_: Any) -> Reply:
        self._inside()
        return Reply(0, b"data", 0, None, None)

    async def process_async(self, *arguments: Any) -> Reply:
        return self.process(*arguments)

    def health_check(self, timeout: float | None) -> Reply:
        return self.process()

    def stop(self) -> None:
        pass

    def end(self, until: float | None, *, empty: bool) -> Ending:
        self.ended.append(empty)
        return self.ending if empty else Ending.LEFT_BEHIND


def answer(door: Admission) -> object:
    """Makes a call."""
    return door.answer("/", "GET", b"", None, None, None)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, EVENTS)))
def test_table(state: State, event: str) -> None:
    """An event leads where the table says, and one that the table does not have changes nothing."""
    door = Admission("p", Instant())
    door._state = state

    if (state, event) in TRANSITIONS:
        door._move(event)
        assert door._state is TRANSITIONS[state, event]
    else:
        with pytest.raises(KeyError):
            door._move(event)
        assert door._state is state


def test_every_state_ends() -> None:
    """From every state of the table an end can be reached, and none leads out of an end."""
    ends = {State.CLOSED, State.ABANDONED}
    reached = set(ends)
    for _ in State:
        reached |= {state for (state, _), target in TRANSITIONS.items() if target in reached}

    assert reached == set(State) - {State.QUARANTINED, State.RESTARTING}  # those are a runner's
    assert all(state not in ends for state, _ in TRANSITIONS)


@pytest.mark.parametrize(
    ("ending", "state", "peaceful"),
    [
        (Ending.PEACEFUL, State.CLOSED, True),
        (Ending.KILLED, State.CLOSED, False),
        (Ending.LEFT_BEHIND, State.ABANDONED, False),
    ],
)
def test_ends(ending: Ending, state: State, peaceful: bool) -> None:
    """What the runner says of its end is what every close returns, and no call enters after it."""
    runner = Instant(ending)
    door = Admission("p", runner)
    assert answer(door) == b"data"

    assert [door.close(None), door.close(0)] == [peaceful, peaceful]
    assert (door.state, runner.ended, door.in_flight) == (state, [True], 0)
    with pytest.raises(PluginStateError, match=f"^p: called while it is {state}"):
        answer(door)
    assert door.in_flight == 0


def test_close_waits() -> None:
    """A close waits for the calls inside; if it gives up, the runner is told that one is inside."""
    entered, leave = threading.Event(), threading.Event()

    def inside() -> None:
        entered.set()
        assert leave.wait(PATIENCE)

    for timeout in (0, None):
        entered.clear()
        leave.clear()
        runner = Instant(inside=inside)
        door = Admission("p", runner)
        call = threading.Thread(target=answer, args=(door,))
        call.start()
        assert entered.wait(PATIENCE)
        pool = ThreadPool(1, "close")
        closed = pool.submit(partial(door.close, timeout))
        if timeout is None:
            while door.state is not State.CLOSING:
                pass
            leave.set()
        assert closed.result(PATIENCE) is (timeout is None)
        leave.set()
        call.join(PATIENCE)
        pool.close()

        assert (runner.ended, door.in_flight) == ([timeout is None], 0)


def test_full() -> None:
    """Calls beyond those that run and wait are refused, and leave no trace."""

    def refused() -> None:
        assert door.in_flight == 1
        with pytest.raises(PluginUnavailable, match=r"its queue is full \(calls running: 1, waiting: 0\)"):
            answer(door)

    door = Admission("p", Instant(inside=refused), workers=1, queue=0)

    assert answer(door) == b"data"
    assert door.in_flight == 0


@pytest.fixture(name="gate", params=["compiled", "python"])
def _gate(request: pytest.FixtureRequest) -> Callable[[int | None], Gate]:
    """Makes gates of one kind."""
    if request.param == "python":
        return PythonGate
    if ffi.compiled() is None:
        missing("the extension module (to build it: pip install -e .)")
    return ffi.binding_named("native").compiled.Gate  # type: ignore[union-attr, no-any-return]


def test_gate_asks(gate: Callable[[int | None], Gate]) -> None:
    """A gate lets calls through unless it is attentive, full or stopped, and counts all of them."""
    one = gate(2)
    assert [one.enter(), one.enter(), one.enter(), one.inside] == [True, True, False, 3]
    one.leave()
    one.leave()
    one.attentive = True
    one.period = 7
    assert [one.enter(), one.attentive, one.period] == [False, True, 7]
    one.leave()
    one.attentive = False
    assert one.enter()
    one.stop()
    one.attentive = False
    assert not one.enter()


def test_gate_drains(gate: Callable[[int | None], Gate]) -> None:
    """A stopped gate is empty when the last call has left, whoever asks and as often as anybody asks."""
    one = gate(None)
    one.enter()
    one.stop()
    assert [one.drain(0), one.drain(0.01)] == [False, False]
    waiting = threading.Thread(target=one.drain, args=(None,))
    waiting.start()
    one.leave()
    waiting.join(PATIENCE)

    assert not waiting.is_alive()
    assert (one.inside, one.drain(None), one.drain(1e300), one.drain(0)) == (0, True, True, True)


def test_gate_of_nobody() -> None:
    """The compiled gate refuses what is not a number, a truth or a period."""
    if ffi.compiled() is None:
        missing("the extension module (to build it: pip install -e .)")
    kind: Any = ffi.binding_named("native").compiled.Gate  # type: ignore[union-attr]
    one = kind(None)
    for wrong in (lambda: kind("x"), kind, lambda: kind(1, most=2), lambda: one.drain("x")):
        with pytest.raises(TypeError):
            wrong()
    for name, value, error in (("period", -1, ValueError), ("period", "x", TypeError)):
        with pytest.raises(error):
            setattr(one, name, value)
    for name in ("period", "attentive"):
        with pytest.raises((AttributeError, ValueError)):
            delattr(one, name)
