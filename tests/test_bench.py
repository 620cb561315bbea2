"""``backworks plugin bench``, as its users run it, and the arithmetic behind it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CompilePlugin
from leftovers import descendants, wait_for_end
from terminal import Terminal
from test_cli import SOURCE, posix_only, run

from backworks.authoring.bench import Latency, Request, Throughput, bench, left_out
from backworks.authoring.bench.runs import cores, thread_counts
from backworks.cli.output import bytes_text, time_text

#: As short as it may be: nobody looks at the figures.
SHORT = ("--seconds", "0.01")

#: Beside what the command's plugin does: answers 500 times, then fails or crashes; prints; answers only in a worker,
#: which has no environment; never returns.
MOODY = "#include <stdio.h>\n#include <stdatomic.h>\nstatic atomic_int calls;\n" + SOURCE.replace(
    '  if (backworks_equal(request->endpoint, request->endpoint_size, "/none")) {',
    """
  if (backworks_equal(request->endpoint, request->endpoint_size, "/later") && atomic_fetch_add(&calls, 1) == 500) {
    return backworks_fail(response, BACKWORKS_INTERNAL, "out of ideas");
  }
  if (backworks_equal(request->endpoint, request->endpoint_size, "/crash") && atomic_fetch_add(&calls, 1) == 500) {
    *(volatile int *)0 = 1;
  }
  if (backworks_equal(request->endpoint, request->endpoint_size, "/prints")) {
    printf("hello from the plugin");
    fflush(stdout);
  }
  if (backworks_equal(request->endpoint, request->endpoint_size, "/picky") && getenv("PATH") != NULL) {
    return backworks_fail(response, BACKWORKS_FAILED_PRECONDITION, "not in this process");
  }
  while (backworks_equal(request->endpoint, request->endpoint_size, "/forever")) {
    if (atomic_fetch_add(&calls, 1) == 0) {
      fputs("inside\\n", stderr);
    }
  }
  if (backworks_equal(request->endpoint, request->endpoint_size, "/none")) {""",
)


@pytest.fixture(scope="module", name="library")
def _library(compile_plugin: CompilePlugin) -> Path:
    return compile_plugin(MOODY, name="moody", flags=['-DNAME="moody"'])


@pytest.fixture(scope="module", name="aloof")
def _aloof(compile_plugin: CompilePlugin) -> Path:
    """A plugin that says in its manifest that it runs in a process of its own only."""
    source = MOODY.replace('"description": "Answers",', '"isolation": ["process"],')
    return compile_plugin(source, name="aloof", flags=['-DNAME="aloof"'])


class TestArithmetic:
    """What the figures are."""

    def test_latency(self) -> None:
        """The minimum, the median and the 99th of 100 are those of all calls, less what the clock takes."""
        counts = {nanoseconds + 40: 1 for nanoseconds in range(1, 101)}

        assert Latency.of(counts, 40) == Latency(calls=100, minimum_ns=1, median_ns=50, p99_ns=99, clock_ns=40)

    def test_latency_counts_calls_and_not_times(self) -> None:
        """A time that many calls took counts as many times, and no time is below zero."""
        counts = {30: 980, 90: 15, 5000: 5}

        assert Latency.of(counts, 40) == Latency(calls=1000, minimum_ns=0, median_ns=0, p99_ns=50, clock_ns=40)
        assert Latency.of({7000: 1}, 0) == Latency(1, 7000, 7000, 7000, 0)

    def test_throughput(self) -> None:
        """Calls per second are those of all threads together."""
        assert Throughput(threads=2, calls=300, seconds=0.5).per_second == 600

    @pytest.mark.parametrize(
        ("number", "counts"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (12, [1, 2, 4, 8, 12])]
    )
    def test_thread_counts(self, number: int, counts: list[int]) -> None:
        """Threads are doubled up to the number of cores, which is always the last."""
        assert thread_counts(number) == counts

    def test_manifest(self) -> None:
        """An isolation that the manifest does not name is left out, with the reason; without the member, none is."""
        refused = left_out({"isolation": ["process", "thread"]}, ["process", "none"])

        assert [(each.isolation, each.reason) for each in refused] == [
            ("none", "its manifest allows process and thread only")
        ]
        assert left_out({}) == left_out(None) == []

    def test_units(self) -> None:
        """Times and sizes have three figures and the unit that suits them."""
        assert [time_text(value) for value in (7, 998, 1420, 12_340, 999_999, 2.5e9)] == [
            "7 ns",
            "998 ns",
            "1.42 µs",
            "12.3 µs",
            "1.00 ms",
            "2.50 s",
        ]
        assert [bytes_text(value) for value in (0, 1, 1023, 1536, 5 << 20, -(3 << 20))] == [
            "0 bytes",
            "1 byte",
            "1023 bytes",
            "1.50 KiB",
            "5.00 MiB",
            "-3.00 MiB",
        ]


def test_from_python(library: Path) -> None:
    """A program measures with one function, and is told of each step."""
    steps: list[str] = []
    (found,) = bench(library, Request("/", "POST", b"x" * 99), isolations=["none"], seconds=0.01, step=steps.append)

    assert (found.isolation, found.answered) == ("none", 99)
    assert found.latency.calls >= 1
    assert [each.threads for each in found.throughput] == thread_counts(cores())
    assert steps == ["none: one call at a time"] + [
        f"none: {number} thread{'s' * (number > 1)}" for number in thread_counts(cores())
    ]


class TestOutput:
    """What the command prints."""

    def test_json(self, library: Path) -> None:
        """As JSON there are all figures of all isolations, each a number with its unit in its name."""
        code, out, err = run("plugin", "bench", library, "/echo", "--data", "hello", *SHORT, "--json")
        found = json.loads(out)

        assert (code, err) == (0, "")
        assert (found["endpoint"], found["method"], found["data_size"]) == ("/echo", "POST", 5)
        assert (found["seconds"], found["machine"]["cores"], found["left_out"]) == (0.01, cores(), [])
        assert [each["isolation"] for each in found["results"]] == ["process", "thread", "none"]
        for each in found["results"]:
            latency = each["latency"]
            assert each["answered"] == 5
            assert 0 < latency["minimum_ns"] <= latency["median_ns"] <= latency["p99_ns"]
            assert latency["calls"] >= 1  # on a machine with much to do, one call may take all of the time
            assert [step["threads"] for step in each["throughput"]] == thread_counts(cores())
            assert all(step["calls_per_second"] == step["calls"] / step["seconds"] > 0 for step in each["throughput"])
            assert each["memory"]["of"] == ("worker" if each["isolation"] == "process" else "host")
        if sys.platform == "linux":
            worker = found["results"][0]["memory"]
            assert 100_000 < worker["pss"] <= worker["rss"] < 100 << 20

    def test_in_a_pipe(self, library: Path) -> None:
        """In a pipe there are plain columns, no bars, no colours, and nothing of the progress."""
        code, out, err = run("plugin", "bench", library, *SHORT)
        lines = out.splitlines()

        assert (code, err) == (0, "")
        assert lines[0].startswith("GET /, 0 bytes there, 0 bytes back; ")
        assert "of the clock's own are taken off" in lines[1]
        assert ["ISOLATION", "CALLS", "MINIMUM", "MEDIAN", "99 %"] in [line.split(None, 4) for line in lines]
        assert [line.split()[0] for line in lines[4:7]] == ["process", "thread", "none"]
        assert "\x1b" not in out
        assert "█" not in out

    @posix_only
    def test_on_a_terminal(self, library: Path) -> None:
        """On a terminal bars stand beside the figures, and what is measured now is shown until it is done."""
        terminal = Terminal("plugin", "bench", library, "--seconds", "0.2", "--isolation", "none")
        terminal.until("none: one call at a time")

        assert terminal.ends() == 0
        assert "CALLS PER SECOND" in terminal.text
        assert "█" in terminal.text.partition("CALLS PER SECOND")[2]

    @posix_only
    def test_progress_stays_out_of_a_file(self, library: Path) -> None:
        """With stdout in a file the progress is still on the terminal, and the file has the figures alone."""
        terminal = Terminal(
            "plugin", "bench", library, "--seconds", "0.2", "--isolation", "none", "--json", stdout=subprocess.PIPE
        )
        assert terminal.process.stdout is not None
        terminal.until("none: one call at a time")
        with terminal.process.stdout as stdout:
            out = stdout.read()

        assert terminal.ends() == 0
        assert json.loads(out)["results"][0]["isolation"] == "none"

    @pytest.mark.parametrize("isolation", ["process", "thread", "none"])
    def test_a_plugin_that_prints(self, library: Path, isolation: str) -> None:
        """What a plugin prints to stdout is no part of the figures."""
        _, out, _ = run("plugin", "bench", library, "/prints", *SHORT, "--json", "--isolation", isolation)

        assert json.loads(out)["results"][0]["isolation"] == isolation


class TestFailures:
    """A plugin that cannot be measured is one clear line and an exit code."""

    @pytest.mark.parametrize("isolation", ["process", "thread", "none"])
    def test_an_error(self, library: Path, isolation: str) -> None:
        """A plugin that answers with an error, at once or after a while, is told with its words, and 1."""
        at_once = run("plugin", "bench", library, "/fail", *SHORT, "--isolation", isolation)
        later = run("plugin", "bench", library, "/later", "--seconds", "60", "--isolation", isolation)

        assert at_once == (1, "", "backworks: moody: NOT_FOUND: no station KXYZ\n")
        assert later == (1, "", "backworks: moody: INTERNAL: out of ideas\n")

    def test_no_answer(self, library: Path) -> None:
        """An endpoint that is not the plugin's own is 1, and the next step is named."""
        assert run("plugin", "bench", library, "/none", *SHORT) == (
            1,
            "",
            "backworks: moody: NOT_FOUND: GET /none is not its own: name an endpoint that it answers\n",
        )

    @pytest.mark.parametrize(
        ("isolation", "words"),
        [
            ("process", "during the call"),
            ("thread", "it took its process along, as it can with isolation thread"),
            ("none", "it took its process along, as it can with isolation none"),
        ],
    )
    def test_a_crash(self, library: Path, isolation: str, words: str) -> None:
        """A plugin that crashes while it is measured is one line that says how, and 1, with every isolation."""
        code, out, err = run("plugin", "bench", library, "/crash", "--seconds", "60", "--isolation", isolation)
        (line,) = (line for line in err.splitlines() if line.startswith("backworks: "))

        assert (code, out) == (1, "")
        assert line.startswith("backworks: moody: INTERNAL: ")
        assert words in line
        if sys.platform != "win32":
            assert "ended by SIGSEGV (segmentation fault)" in line
        assert "Traceback" not in err

    def test_what_came_before_is_kept(self, library: Path) -> None:
        """The figures of isolations that were measured before one failed are printed."""
        code, out, err = run("plugin", "bench", library, "/picky", *SHORT, "--json")

        assert (code, err) == (1, "backworks: moody: FAILED_PRECONDITION: not in this process\n")
        assert [each["isolation"] for each in json.loads(out)["results"]] == ["process"]

    def test_it_does_not_load(self, tmp_path: Path, library: Path) -> None:
        """A file that does not load is 4; a configuration that its schema refuses is 3."""
        (tmp_path / "x.so").write_text("hello\n")

        assert run("plugin", "bench", "x.so", cwd=tmp_path)[::2] == (
            4,
            f"backworks: {tmp_path / 'x.so'}: not a library: the file starts with 'hello'\n",
        )
        code, out, err = run("plugin", "bench", library, *SHORT, "--config", '{"limit": "many"}')
        assert (code, out) == (3, "")
        assert err == "backworks: config.limit: 'many' is not of type 'integer'\n"

    def test_an_isolation_that_the_manifest_does_not_allow(self, aloof: Path) -> None:
        """It is left out with a sentence; when nothing is left, that is wrong use."""
        code, out, err = run("plugin", "bench", aloof, *SHORT, "--json")

        assert code == 0
        assert [each["isolation"] for each in json.loads(out)["results"]] == ["process"]
        assert [each["isolation"] for each in json.loads(out)["left_out"]] == ["thread", "none"]
        assert err == "".join(
            f"backworks: isolation {each} is left out: its manifest allows process only\n"
            for each in ("thread", "none")
        )
        assert run("plugin", "bench", aloof, *SHORT, "--isolation", "none") == (
            2,
            "",
            "backworks: isolation none is left out: its manifest allows process only\n",
        )

    @pytest.mark.skipif(sys.platform != "linux", reason="what is left behind is looked up in /proc")
    @pytest.mark.parametrize("isolation", ["process", "none"])
    def test_ctrl_c(self, library: Path, isolation: str) -> None:
        """Ctrl-C ends it with 130, without a traceback and with no process left, also while the plugin hangs."""
        terminal = Terminal("plugin", "bench", library, "/forever", "--isolation", isolation, start_new_session=True)
        terminal.until("inside")
        below = descendants(terminal.process.pid)
        os.killpg(terminal.process.pid, signal.SIGINT)

        assert terminal.ends() == 130
        assert "Traceback" not in terminal.text
        assert len(below) > (isolation == "process")
        assert wait_for_end(below) == set()
