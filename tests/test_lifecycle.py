"""The table of a plugin's life."""

from __future__ import annotations

import itertools

import pytest

from backworks.errors import PluginStateError, PluginUnavailable
from backworks.isolation.lifecycle import TRANSITIONS, Lifecycle, State

EVENTS = sorted({event for _, event in TRANSITIONS})


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, EVENTS)))
def test_table(state: State, event: str) -> None:
    """Each event leads where the table says; one that it does not have names plugin and state and changes nothing."""
    life = Lifecycle("p")
    life._state = state

    if (state, event) in TRANSITIONS:
        life._move(event)
        assert life.state is TRANSITIONS[state, event]
    else:
        with pytest.raises(PluginStateError, match=f"^p: '{event}' cannot happen while it is {state}$"):
            life._move(event)
        assert life.state is state


def test_every_state_ends() -> None:
    """From every state an end can be reached, and none leads out of an end."""
    ends = {State.CLOSED, State.ABANDONED}
    reached = set(ends)
    for _ in State:
        reached |= {state for (state, _), target in TRANSITIONS.items() if target in reached}

    assert reached == set(State) - {State.RESTARTING, State.STOPPED}  # the states of worker processes
    assert all(target in ends for (state, _), target in TRANSITIONS.items() if state in ends)


def test_lost_calls() -> None:
    """Quarantine lasts until the last of the lost calls has left."""
    life = Lifecycle("p")
    first, second = life.enter(), life.enter()
    life.lose(first)
    life.lose(second)
    with pytest.raises(PluginUnavailable):
        life.enter()

    life.leave(first)
    assert life.state is State.QUARANTINED
    life.leave(second)
    assert life.state is State.RUNNING


def test_lost_too_late() -> None:
    """A call that left just before it was given up quarantines nothing."""
    life = Lifecycle("p")
    ticket = life.enter()
    life.leave(ticket)
    life.lose(ticket)

    assert (life.state, life.in_flight) == (State.RUNNING, 0)


def test_lost_call_returns_while_closing() -> None:
    """A close waits for lost calls too, and is then owed the shutdown."""
    life = Lifecycle("p")
    ticket = life.enter()
    life.lose(ticket)

    assert life.close(0) is False
    assert life.state is State.ABANDONED
    life.leave(ticket)
    assert (life.state, life.in_flight) == (State.ABANDONED, 0)
