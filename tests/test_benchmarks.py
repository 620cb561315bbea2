"""The benchmarks' arithmetic, and that all contenders give the same results; nothing is measured."""

from __future__ import annotations

import importlib
import random
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import CompilePlugin

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))  # the benchmarks are not part of the package

from benchmarks import RESULTS, apps, command, contenders, report  # noqa: E402
from benchmarks import __main__ as whole_run  # noqa: E402
from benchmarks.harness import Contender, Figure, Sample, interleave, per_call, statement  # noqa: E402
from benchmarks.serving import Load  # noqa: E402
from benchmarks.units import amount, number  # noqa: E402

PEERS = ROOT / "benchmarks" / "peers"


def test_a_sample_sums_up_its_values() -> None:
    """Minimum, median and maximum are those of the values; low and high are the 10 % and 90 % quantiles."""
    values = [float(value) for value in range(101)]
    random.Random(1).shuffle(values)

    assert Sample.of(values) == Sample(rounds=101, minimum=0, median=50, maximum=100, low=10, high=90)


def test_one_value_is_its_own_spread() -> None:
    """In a sample of one value, all figures are that value."""
    assert Sample.of([7.0]) == Sample(rounds=1, minimum=7, median=7, maximum=7, low=7, high=7)


def test_every_round_has_each_contender_once_in_an_order_of_its_own() -> None:
    """Contenders take turns in changing order, and the first round is not counted."""
    names = ["a", "b", "c", "d"]
    turns: list[str] = []

    def measure(name: str) -> float:
        turns.append(name)
        return float(turns.count(name))

    found = interleave([Contender(name, lambda name=name: measure(name)) for name in names], 9)
    rounds = [turns[start : start + 4] for start in range(0, len(turns), 4)]

    assert len(rounds) == 10
    assert all(sorted(each) == names for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1
    assert {name: sample.rounds for name, sample in found.items()} == dict.fromkeys(names, 9)
    assert found["a"].minimum == 2  # the first turn is not counted


def test_two_contenders_of_one_name_are_refused() -> None:
    """Two contenders with the same name are an error."""
    with pytest.raises(ValueError, match="two contenders"):
        interleave([Contender("a", lambda: 1.0), Contender("a", lambda: 2.0)], 1)


def test_a_call_is_made_often_enough_to_fill_the_budget() -> None:
    """The number of calls is determined once, from their duration."""
    counts: list[int] = []

    def seconds_of(count: int) -> float:
        counts.append(count)
        return count * 2e-6

    measure = per_call(seconds_of, 0.02)
    first, second = measure(), measure()

    assert (first, second) == (pytest.approx(2000), pytest.approx(2000))
    assert counts[-2:] == [10_000, 10_000]


def test_a_statement_runs_as_often_as_asked() -> None:
    """The names in a statement have the given values."""
    calls: list[int] = []
    taken = statement("call(7)", call=calls.append)(5)

    assert calls == [7] * 5
    assert taken > 0


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.5, "0.50 ns"), (14, "14 ns"), (95.25, "95.2 ns"), (1700, "1.70 µs"), (2.5e7, "25 ms")],
)
def test_nanoseconds_are_shown_in_the_unit_that_suits_them(value: float, shown: str) -> None:
    """Numbers have three significant figures."""
    assert amount(value, "ns") == (f"{shown} ns" if shown == "0" else shown)


def test_large_numbers_are_set_apart() -> None:
    """Thousands have a separator, and no decimals."""
    assert number(31193.4) == "31,193"


def _figure(*, more_is_better: bool = False) -> Figure:
    samples = {"peer": Sample.of([200.0, 220.0, 300.0]), "Backworks": Sample.of([100.0, 110.0, 400.0])}
    return Figure("calls", "Calls", "ns", {"64 B": samples}, ("peer",), ("A note.",), more_is_better=more_is_better)


def test_times_are_compared_by_their_minima_and_rates_by_their_medians() -> None:
    """Ratios in the table are relative to the named peer in the same run."""
    times = report.markdown([_figure()], {"cores": "2"})
    rates = report.markdown([_figure(more_is_better=True)], {"cores": "2"})

    assert "| cores | 2 |" in times
    assert "- A note." in times
    assert "| Backworks | 100 ns | 110 ns | 102 ns to 342 ns | 0.50 |" in times
    assert "| peer | 200 ns | 220 ns | 204 ns to 284 ns |  |" in times
    assert _figure(more_is_better=True).value(Sample.of([100.0, 110.0, 400.0])) == 110
    assert rates.count("0.50") == 1


def test_a_peer_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that is unavailable is skipped, with a reason in the table of the machine."""
    monkeypatch.setattr(contenders, "MISSING", {})
    took_part = []
    for name, module in (("here", "json"), ("Extism", "no_such_package")):
        with contenders.optional(name):
            took_part.append(importlib.import_module(module))

    assert len(took_part) == 1
    assert command.missing() == {"missing": "Extism (ModuleNotFoundError: No module named 'no_such_package')"}


@pytest.mark.skipif(sys.platform == "win32", reason="make bench runs on Linux and macOS, as its message says")
def test_a_figure_that_fails_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If a figure fails, the others are written, the failure is reported, and the exit code is 1."""
    monkeypatch.setattr(whole_run, "ROOT", tmp_path)
    monkeypatch.setattr(whole_run, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(whole_run, "check_environment", lambda: None)
    monkeypatch.setattr(whole_run.plot, "draw", lambda *_: None)  # needs packages of the benchmark environment
    monkeypatch.setattr(whole_run, "FIGURES", ("first", "second", "calls"))
    for name, figure in (("first", _figure), ("second", lambda: 1 // 0), ("calls", _figure)):
        module = SimpleNamespace(figure=lambda quick, figure=figure: figure())
        monkeypatch.setitem(sys.modules, f"benchmarks.{name}", module)
    monkeypatch.setattr(sys, "argv", ["benchmarks"])

    assert whole_run.main() == 1
    figures, machine = report.read(tmp_path / "results" / "results.json")
    assert len(figures) == 2
    assert machine["run"] == "full"
    assert machine["failed"].startswith("second (ZeroDivisionError: ")
    assert "second was not measured: ZeroDivisionError" in capsys.readouterr().err


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    """results.json has everything that the tables need."""
    report.write(tmp_path, [_figure()], {"cores": "2"})

    assert report.read(tmp_path / "results.json") == ([_figure()], {"cores": "2"})
    assert (tmp_path / "results.md").read_text(encoding="utf-8") == report.markdown([_figure()], {"cores": "2"})


def test_the_kept_tables_are_those_of_the_kept_values() -> None:
    """results.md matches results.json, so it has not been edited by hand."""
    figures, machine = report.read(RESULTS / "results.json")

    assert (RESULTS / "results.md").read_text(encoding="utf-8") == report.markdown(figures, machine)


def test_errors_of_the_client_are_counted() -> None:
    """Failed sockets and error responses are counted over all measurements."""
    load = Load(1)
    clean = "  31021 requests in 1.00s, 5.68MB read\nRequests/sec:  31020.50\n"
    broken = clean + "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 90\n"

    assert load.take(clean) == 31020.5
    assert load.errors == 0
    assert load.take(broken) == 31020.5
    assert load.note() == "Errors: 100 in 62,042 requests."


@pytest.mark.skipif(sys.platform == "win32", reason="make bench runs on Linux and macOS, as its message says")
def test_the_plugins_and_the_floor_do_what_is_measured(
    compile_plugin: CompilePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every contender gives the same answer, and the loops in C take time."""
    libraries = {"floor": compile_plugin((PEERS / "floor.c").read_text(), "floor", [f"-I{PEERS}"])}
    for name in ("echo", "constant", "hash"):
        flags = [f"-I{PEERS}", f'-DNAME="{name}"', f"-DANSWER=answer_{name}"]
        libraries[name] = compile_plugin((PEERS / "plugin.c").read_text(), f"measured_{name}", flags)
    monkeypatch.setattr(contenders, "library", libraries.__getitem__)
    data = bytes(range(128))
    answers = {}
    for name in ("echo", "constant", "hash"):
        _, by_hand = contenders.by_ctypes(name)
        with contenders.ours(name) as plugin:
            answers[name] = (by_hand(data), plugin.process_endpoint_data("/", "POST", data, as_bytes=True))
    floor = contenders.Floor()
    loops = (floor.call(data), floor.copy(data, fresh=False), floor.copy(data, fresh=True))

    assert answers["echo"] == (data, data)
    assert answers["constant"] == (apps.CONSTANT, apps.CONSTANT)
    assert answers["hash"][0] == answers["hash"][1]
    assert len(answers["hash"][0]) == 8
    assert contenders.by_ctypes("echo")[0]("text") == "text"
    assert all(loop(1000) > 0 for loop in loops)
