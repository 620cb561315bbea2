"""The measurement method: contenders take turns in rounds, and their values are summarised.

Each round measures every contender once, in a new random order. Disturbances (another program, a lower clock speed)
therefore affect all contenders, and none always follows the same other one.
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
    """A participant in a comparison.

    Attributes:
        name: Its name in the tables.
        measure: Measures once; returns the value in the figure's unit.
    """

    name: str
    measure: Callable[[], float]


@dataclass(frozen=True)
class Sample:
    """The values of one contender over all rounds.

    Attributes:
        rounds: The number of measurements.
        minimum, median, maximum: Those of all values.
        low, high: The 10 % and 90 % quantiles.
    """

    rounds: int
    minimum: float
    median: float
    maximum: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Sample:
        """Summarises the values, of which there must be at least one."""
        low, high = values[0], values[0]
        if len(values) > 1:
            tenths = statistics.quantiles(values, n=10, method="inclusive")
            low, high = tenths[0], tenths[-1]
        return cls(len(values), min(values), statistics.median(values), max(values), low, high)


@dataclass(frozen=True)
class Figure:
    """The results of all contenders in one benchmark.

    Attributes:
        name: The name of its files.
        title: What is measured, and which direction is better.
        unit: The unit of the values.
        groups: For each case, such as a size, the contenders' samples in listing order.
        references: The contenders that ratios are computed against.
        notes: Remarks that readers need.
        more_is_better: Whether larger values are better.
        logarithmic: Whether the plot's axis is logarithmic.
        sorted: Whether the plot is sorted with the best first; otherwise it keeps the order of the groups.
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
        """Returns the value used in ratios and plots: the minimum if less is better, the median if more is.

        Disturbances can only add to a measured time, but can shift a throughput either way.
        """
        return sample.median if self.more_is_better else sample.minimum


def interleave(contenders: Sequence[Contender], rounds: int, seed: int = 0) -> dict[str, Sample]:
    """Measures the contenders round by round, each once per round, in random order.

    Args:
        contenders: The contenders, with different names.
        rounds: The number of rounds, after one warm-up round that is not counted.
        seed: The seed of the order.
    """
    order = random.Random(seed)
    values: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    if len(values) != len(contenders):
        raise ValueError("two contenders have the same name")
    turns = list(contenders)
    for round_number in range(rounds + 1):
        order.shuffle(turns)
        for contender in turns:
            value = contender.measure()
            if round_number:
                values[contender.name].append(value)
    return {name: Sample.of(found) for name, found in values.items()}


def per_call(seconds_of: Callable[[int], float], budget: float) -> Callable[[], float]:
    """Returns a function that measures nanoseconds per call.

    Args:
        seconds_of: Makes a number of calls; returns how many seconds they took.
        budget: How many seconds one measurement should take; the first measurement determines the number of calls.
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
    """Returns a function that runs a Python statement a number of times; returns the seconds, including the loop.

    Args:
        text: The statement.
        names: The names that it uses.
    """
    setup = "; ".join(f"{name} = _names[{name!r}]" for name in names) or "pass"
    return timeit.Timer(text, setup, globals={"_names": names}).timeit
