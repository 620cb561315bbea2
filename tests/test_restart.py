"""When worker processes are started again: a model of the table in backworks/isolation/process/restart.py."""

from __future__ import annotations

import random

import pytest

from backworks.isolation.process.restart import BURST, RATE, SHORTAGE, Backoff, HostShortage
from backworks.settings import Restart


class Clock:
    """A clock that is set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(name="clock")
def _clock() -> Clock:
    """A clock that stands still."""
    return Clock()


def test_failures(clock: Clock) -> None:
    """The first start after a failure is immediate; each further failure doubles the delay, up to the maximum."""
    backoff = Backoff(Restart(initial=1, maximum=5), clock=clock, jitter=lambda: 1.0)
    waits = []
    for _ in range(50):
        waits.append(backoff.failed())
        clock.now += waits[-1]

    assert waits[:6] == [0, 1, 2, 4, 5, 5]
    assert set(waits[6:]) == {5}
    assert backoff.worked() == 0
    assert backoff.failed() == 0


def test_jitter(clock: Clock) -> None:
    """Half of a delay is random."""
    backoff = Backoff(Restart(initial=1, maximum=30), clock=clock, jitter=lambda: 0.0)
    waits = []
    for _ in range(3):
        waits.append(backoff.failed())
        clock.now += waits[-1]

    assert waits == [0, 0.5, 1]


def test_together(clock: Clock) -> None:
    """Workers that fail during a delay share it."""
    backoff = Backoff(Restart(initial=1, maximum=30), workers=4, clock=clock, jitter=lambda: 1.0)
    backoff.failed()

    assert [backoff.failed() for _ in range(4)] == [1, 1, 1, 1]
    clock.now += 0.25
    assert backoff.failed() == 0.75


def test_shortage(clock: Clock) -> None:
    """What the host lacks is no failure of the plugin: the next start comes soon, and the delay does not grow."""
    backoff = Backoff(Restart(initial=1, maximum=30), clock=clock, jitter=lambda: 1.0)

    assert [backoff.not_started(HostShortage("no descriptors")) for _ in range(50)] == [SHORTAGE] * 50
    assert backoff.not_started(OSError()) == 0


def test_burst(clock: Clock) -> None:
    """Workers that had worked are replaced at once; a long series of them is spread over time."""
    backoff = Backoff(Restart(initial=1, maximum=30), workers=2, clock=clock)

    assert [backoff.worked() for _ in range(2 * BURST)] == [0] * (2 * BURST)
    assert backoff.worked() == pytest.approx(1 / (2 * RATE))
    assert backoff.worked() == pytest.approx(2 / (2 * RATE))
    clock.now += 3600
    assert backoff.worked() == 0


@pytest.mark.parametrize("seed", range(50))
def test_model(clock: Clock, seed: int) -> None:
    """Whatever happens, a start follows: never later than the maximum after a failure, and soon after work."""
    chance = random.Random(seed)
    workers = chance.randint(1, 8)
    restart = Restart(initial=chance.choice([0.001, 0.1, 2.0]), maximum=chance.choice([0.002, 30.0, 60.0]))
    backoff = Backoff(restart, workers, clock, chance.random)
    tokens, counted, longest, until = float(BURST * workers), clock.now, 0.0, 0.0
    for _ in range(2000):
        clock.now += chance.choice([0.0, 0.01, 1.0, 100.0])
        match chance.choice(["worked", "failed", "failed", "short"]):
            case "worked":
                wait = backoff.worked()
                tokens = min(tokens + (clock.now - counted) * RATE * workers, BURST * workers) - 1
                counted, longest = clock.now, 0.0
                assert wait == pytest.approx(max(0.0, -tokens / (RATE * workers)))
            case "failed":
                wait = backoff.not_started(OSError())
                if clock.now < until:  # a delay runs
                    assert clock.now + wait == pytest.approx(until)
                    continue
                assert longest / 2 <= wait <= longest + 1e-6
                until = clock.now + wait
                longest = min(max(2 * longest, restart.initial), restart.maximum)
            case _:
                wait = backoff.not_started(HostShortage("no descriptors"))
                assert wait == min(SHORTAGE, restart.maximum)
        assert wait <= max(restart.maximum, 2000 / RATE)
