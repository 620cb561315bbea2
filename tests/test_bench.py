"""``backworks plugin bench``, and the arithmetic behind it."""

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

#: The shortest time allowed, because the figures do not matter here.
SHORT = ("--seconds", "0.01")

#: The plugin of the command's tests, which can also: fail or crash after 500 answers; print; answer only in a worker
#: process, where the environment is empty; never return.
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
    """A plugin whose manifest allows only isolation process."""
    source = MOODY.replace('"description": "Answers",', '"isolation": ["process"],')
    return compile_plugin(source, name="aloof", flags=['-DNAME="aloof"'])


class TestArithmetic:
    """How the figures are computed."""

    def test_latency(self) -> None:
        """Minimum, median and 99th percentile are computed over all calls, minus the time to read the clock."""
        counts = {nanoseconds + 40: 1 for nanoseconds in range(1, 101)}

        assert Latency.of(counts, 40) == Latency(calls=100, minimum_ns=1, median_ns=50, p99_ns=99, clock_ns=40)

    def test_latency_counts_calls_and_not_times(self) -> None:
        """A duration is weighted by its number of calls, and no duration is negative."""
        counts = {30: 980, 90: 15, 5000: 5}

        assert Latency.of(counts, 40) == Latency(calls=1000, minimum_ns=0, median_ns=0, p99_ns=50, clock_ns=40)
        assert Latency.of({7000: 1}, 0) == Latency(1, 7000, 7000, 7000, 0)

    def test_throughput(self) -> None:
        """Calls per second is the total of all threads."""
        assert Throughput(threads=2, calls=300, seconds=0.5).per_second == 600

    @pytest.mark.parametrize(
        ("number", "counts"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (12, [1, 2, 4, 8, 12])]
    )
    def test_thread_counts(self, number: int, counts: list[int]) -> None:
        """The number of threads doubles up to the number of cores, which is always included."""
        assert thread_counts(number) == counts

    def test_manifest(self) -> None:
        """An isolation that the manifest does not list is skipped with a reason; without a list, none is skipped."""
        refused = left_out({"isolation": ["process", "thread"]}, ["process", "none"])

        assert [(each.isolation, each.reason) for each in refused] == [
            ("none", "the manifest allows only process and thread")
        ]
        assert left_out({}) == left_out(None) == []

    def test_units(self) -> None:
        """Times and sizes have three significant figures and a suitable unit."""
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
    """A program can measure with one function call, and receives each step."""
    steps: list[str] = []
    (found,) = bench(library, Request("/", "POST", b"x" * 99), isolations=["none"], seconds=0.01, step=steps.append)

    assert (found.isolation, found.answered) == ("none", 99)
    assert found.latency.calls >= 1
    assert [each.threads for each in found.throughput] == thread_counts(cores())
    assert steps == ["none: one call at a time"] + [
        f"none: {number} thread{'s' * (number > 1)}" for number in thread_counts(cores())
    ]


class TestOutput:
    """The output of the command."""

    def test_json(self, library: Path) -> None:
        """The JSON output has all figures of all isolations, each with its unit in its name."""
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
            assert latency["calls"] >= 1  # on a busy machine, one call may take all of the time
            assert [step["threads"] for step in each["throughput"]] == thread_counts(cores())
            assert all(step["calls_per_second"] == step["calls"] / step["seconds"] > 0 for step in each["throughput"])
            assert each["memory"]["of"] == ("worker" if each["isolation"] == "process" else "host")
        if sys.platform == "linux":
            worker = found["results"][0]["memory"]
            assert 100_000 < worker["pss"] <= worker["rss"] < 100 << 20

    def test_in_a_pipe(self, library: Path) -> None:
        """In a pipe the output is plain columns, without bars, colours or progress."""
        code, out, err = run("plugin", "bench", library, *SHORT)
        lines = out.splitlines()

        assert (code, err) == (0, "")
        assert lines[0].startswith("GET /, 0 bytes sent, 0 bytes received; ")
        assert "to read the clock" in lines[1]
        assert ["ISOLATION", "CALLS", "MINIMUM", "MEDIAN", "99 %"] in [line.split(None, 4) for line in lines]
        assert [line.split()[0] for line in lines[4:7]] == ["process", "thread", "none"]
        assert "\x1b" not in out
        assert "█" not in out

    @posix_only
    def test_on_a_terminal(self, library: Path) -> None:
        """On a terminal there are bars beside the figures, and the current step is shown until it is done."""
        terminal = Terminal("plugin", "bench", library, "--seconds", "0.2", "--isolation", "none")
        terminal.until("none: one call at a time")

        assert terminal.ends() == 0
        assert "CALLS PER SECOND" in terminal.text
        assert "█" in terminal.text.partition("CALLS PER SECOND")[2]

    @posix_only
    def test_progress_stays_out_of_a_file(self, library: Path) -> None:
        """With stdout in a file, progress is still shown on the terminal, and the file has only the figures."""
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
        """Output of the plugin to stdout does not mix with the figures."""
        _, out, _ = run("plugin", "bench", library, "/prints", *SHORT, "--json", "--isolation", isolation)

        assert json.loads(out)["results"][0]["isolation"] == isolation


class TestFailures:
    """A plugin that cannot be measured is reported in one line with an exit code."""

    @pytest.mark.parametrize("isolation", ["process", "thread", "none"])
    def test_an_error(self, library: Path, isolation: str) -> None:
        """If the plugin returns an error, at once or later, its message is shown and the exit code is 1."""
        at_once = run("plugin", "bench", library, "/fail", *SHORT, "--isolation", isolation)
        later = run("plugin", "bench", library, "/later", "--seconds", "60", "--isolation", isolation)

        assert at_once == (1, "", "backworks: moody: NOT_FOUND: no station KXYZ\n")
        assert later == (1, "", "backworks: moody: INTERNAL: out of ideas\n")

    def test_no_answer(self, library: Path) -> None:
        """If the plugin has no answer, the exit code is 1 and the message names the fix."""
        assert run("plugin", "bench", library, "/none", *SHORT) == (
            1,
            "",
            "backworks: moody: NOT_FOUND: no answer for GET /none: choose an endpoint that the plugin answers\n",
        )

    @pytest.mark.parametrize(
        ("isolation", "words"),
        [
            ("process", "during the call"),
            ("thread", "it crashed the host process, as a plugin can with isolation thread"),
            ("none", "it crashed the host process, as a plugin can with isolation none"),
        ],
    )
    def test_a_crash(self, library: Path, isolation: str, words: str) -> None:
        """With every isolation, a crash is reported in one line with its cause, and the exit code is 1."""
        code, out, err = run("plugin", "bench", library, "/crash", "--seconds", "60", "--isolation", isolation)
        (line,) = (line for line in err.splitlines() if line.startswith("backworks: "))

        assert (code, out) == (1, "")
        assert line.startswith("backworks: moody: INTERNAL: ")
        assert words in line
        if sys.platform != "win32":
            assert "ended by SIGSEGV (segmentation fault)" in line
        assert "Traceback" not in err

    def test_what_came_before_is_kept(self, library: Path) -> None:
        """If one isolation fails, the figures of those before it are still printed."""
        code, out, err = run("plugin", "bench", library, "/picky", *SHORT, "--json")

        assert (code, err) == (1, "backworks: moody: FAILED_PRECONDITION: not in this process\n")
        assert [each["isolation"] for each in json.loads(out)["results"]] == ["process"]

    def test_it_does_not_load(self, tmp_path: Path, library: Path) -> None:
        """A file that cannot be loaded exits with 4; a configuration that the schema rejects, with 3."""
        (tmp_path / "x.so").write_text("hello\n")

        assert run("plugin", "bench", "x.so", cwd=tmp_path)[::2] == (
            4,
            f"backworks: {tmp_path / 'x.so'}: not a library: the file starts with 'hello'\n",
        )
        code, out, err = run("plugin", "bench", library, *SHORT, "--config", '{"limit": "many"}')
        assert (code, out) == (3, "")
        assert err == "backworks: config.limit: 'many' is not of type 'integer'\n"

    def test_an_isolation_that_the_manifest_does_not_allow(self, aloof: Path) -> None:
        """The isolation is skipped with a message; if none is left, that is a usage error."""
        code, out, err = run("plugin", "bench", aloof, *SHORT, "--json")

        assert code == 0
        assert [each["isolation"] for each in json.loads(out)["results"]] == ["process"]
        assert [each["isolation"] for each in json.loads(out)["left_out"]] == ["thread", "none"]
        assert err == "".join(
            f"backworks: skipping isolation {each}: the manifest allows only process\n" for each in ("thread", "none")
        )
        assert run("plugin", "bench", aloof, *SHORT, "--isolation", "none") == (
            2,
            "",
            "backworks: skipping isolation none: the manifest allows only process\n",
        )

    @pytest.mark.skipif(sys.platform != "linux", reason="remaining processes are found in /proc")
    @pytest.mark.parametrize("isolation", ["process", "none"])
    def test_ctrl_c(self, library: Path, isolation: str) -> None:
        """Ctrl-C exits with 130, without a traceback or a remaining process, even while the plugin hangs."""
        terminal = Terminal("plugin", "bench", library, "/forever", "--isolation", isolation, start_new_session=True)
        terminal.until("inside")
        below = descendants(terminal.process.pid)
        os.killpg(terminal.process.pid, signal.SIGINT)

        assert terminal.ends() == 130
        assert "Traceback" not in terminal.text
        assert len(below) > (isolation == "process")
        assert wait_for_end(below) == set()
