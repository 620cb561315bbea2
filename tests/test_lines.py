"""What a worker writes to its standard error output, as lines."""

from __future__ import annotations

import pytest

from backworks.isolation.process.lines import LineReader


class Clock:
    """A clock that is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(name="clock")
def _clock() -> Clock:
    """A clock that stands still."""
    return Clock()


class TestLineReader:
    """Bytes become lines."""

    @pytest.mark.parametrize("size", [1, 2, 3, 100])
    def test_lines(self, clock: Clock, size: int) -> None:
        """Lines come whole, however they were cut; empty ones are left out, and what is not UTF-8 is replaced."""
        found: list[str] = []
        reader = LineReader(found.append, clock)
        data = b"one\n\ntwo\r\nth\xffree\nfour"
        for at in range(0, len(data), size):
            reader.feed(data[at : at + size])

        assert found == ["one", "two", "th\ufffdree"]
        reader.end()
        assert found[3:] == ["four"]
        assert reader.last == tuple(found)

    def test_long(self, clock: Clock) -> None:
        """A line without an end is cut, and its rest left out."""
        found: list[str] = []
        reader = LineReader(found.append, clock)
        for _ in range(100):
            reader.feed(b"x" * 1000)
        reader.feed(b"rest\nnext\n")

        assert found == ["x" * 8192, "next"]

    @pytest.mark.parametrize("size", [10, 1000, 65_536])
    def test_flood(self, clock: Clock, size: int) -> None:
        """So many lines a second are passed on; the others are counted, and the last ones kept."""
        found: list[str] = []
        reader = LineReader(found.append, clock)
        data = b"".join(b"line %d\n" % number for number in range(10_000))
        for at in range(0, len(data), size):
            reader.feed(data[at : at + size])

        assert 0 < len(found) <= 100
        assert reader.last == tuple(f"line {number}" for number in range(9980, 10_000))
        passed = len(found)
        clock.now += 1
        reader.tick()
        assert found[passed].startswith(f"[{10_000 - passed} more lines on stderr were dropped")
        assert len(found) == passed + 1
        reader.feed(b"after\n")
        assert found[-1] == "after"
