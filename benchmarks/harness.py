"""How everything is measured: contenders in turns, in rounds, and what is said of their values.

One round measures each contender once, in an order that is shuffled anew: what the machine does meanwhile (another
program, a lower clock) meets them all, and none is always the one after a certain other.
"""

from __future__ import annotations

import random
import statistics
import timeit
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Contender", "Figure", "Sample", "interleave", "per_call", "statement"]


@dataclass(frozen=True)
class Contender:
    """Somebody who takes part.

    Attributes:
        name: How the tables call it.
        measure: Measures once and returns the value, in the figure's unit.
    """

    name: str
    measure: Callable[[], float]


@dataclass(frozen=True)
class Sample:
    """What was measured of one contender, over all rounds.

    Attributes:
        rounds: How often it was measured.
        minimum, median, maximum: Of all values.
        low, high: The 10 % and the 90 % quantile: between them lie four of five values.
    """

    rounds: int
    minimum: float
    median: float
    maximum: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Sample:
        """Sums up the values; there must be one at least."""
        low, high = values[0], values[0]
        if len(values) > 1:
            tenths = statistics.quantiles(values, n=10, method="inclusive")
            low, high = tenths[0], tenths[-1]
        return cls(len(values), min(values), statistics.median(values), max(values), low, high)


@dataclass(frozen=True)
class Figure:
    """One thing that was measured, of all its contenders, in one run.

    Attributes:
        name: The name of its files.
        title: What it is, and which direction is better.
        unit: What the values are in.
        groups: For each case (a size, say), the contenders' samples, in the order in which they are listed.
        references: The contenders that ratios are computed against.
        notes: What has to be known to read it.
        more_is_better: Whether a larger value is the better one.
        logarithmic: Whether the plot's axis is.
        sorted: Whether the plot has the best first, or the order of the groups.
    """

    name: str
    title: str
    unit: str
    groups: Mapping[str, Mapping[str, Sample]]
    references: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    more_is_better: bool = False
    logarithmic: bool = True
    sorted: bool = True

    def value(self, sample: Sample) -> float:
        """What a sample counts with in ratios and plots: its minimum if less is better, its median if more is.

        What disturbs a measurement of time only ever adds to it; a throughput has no such bound.
        """
        return sample.median if self.more_is_better else sample.minimum


def interleave(contenders: Sequence[Contender], rounds: int, seed: int = 0) -> dict[str, Sample]:
    """Measures the contenders round by round, each once in each, in shuffled order.

    Args:
        contenders: Who takes part; their names are different.
        rounds: How often; one round before them is not counted.
        seed: Makes the order repeatable.
    """
    order = random.Random(seed)
    values: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    if len(values) != len(contenders):
        raise ValueError("two contenders have one name")
    turns = list(contenders)
    for round_number in range(rounds + 1):
        order.shuffle(turns)
        for contender in turns:
            value = contender.measure()
            if round_number:
                values[contender.name].append(value)
    return {name: Sample.of(found) for name, found in values.items()}


def per_call(seconds_of: Callable[[int], float], budget: float) -> Callable[[], float]:
    """Makes a measurement, in nanoseconds per call, of what can be called many times.

    Args:
        seconds_of: Calls so many times and returns the seconds that it took.
        budget: How many seconds one measurement should take; the first one finds out how many calls that is.
    """
    count = 0

    def measure() -> float:
        nonlocal count
        if not count:
            count, taken = 1, seconds_of(1)
            while taken < budget / 10:
                count *= 4
                taken = seconds_of(count)
            count = max(1, round(count * budget / taken))
        return seconds_of(count) / count * 1e9

    return measure


def statement(text: str, **names: Any) -> Callable[[int], float]:
    """Returns what runs a statement of Python so many times and returns the seconds; its loop is part of them.

    Args:
        text: The statement.
        names: What it uses.
    """
    setup = "; ".join(f"{name} = _names[{name!r}]" for name in names) or "pass"
    return timeit.Timer(text, setup, globals={"_names": names}).timeit
