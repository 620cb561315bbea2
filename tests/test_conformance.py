"""The conformance tests: conforming plugins pass, and each seeded defect is reported, with nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import weather_plugins
from bundles import FROM_LINKED, build_dependency, build_plugin
from conftest import ECHO, PATIENCE, CompilePlugin, missing
from leftovers import has_mapped
from seeded import DEFECTS, ZOO_DEFECTS, Seeded, build
from unruly import last_words
from zookeeper import Animal
from zookeeper import build as build_zoo

from backworks import sdk
from backworks.authoring.conformance.catalogue import catalogue
from backworks.authoring.conformance.launch import _kill_if_mapped, sweep
from backworks.authoring.conformance.requests import parse
from backworks.authoring.conformance.results import Result, Status
from backworks.authoring.conformance.runner import Options, run
from backworks.loading.private import private_directory

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="the plugins and the checks for leftovers need /proc")

SEED = 20261126


@pytest.fixture(scope="module", name="zoo")
def _zoo(cc: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build_zoo(cc, tmp_path_factory.mktemp("zoo"), [Animal(seeded.name) for seeded in ZOO_DEFECTS])


def wrong(results: Sequence[Result]) -> dict[str, Status]:
    """Returns the checks that neither passed nor were skipped."""
    return {result.id: result.status for result in results if result.status not in (Status.PASS, Status.SKIPPED)}


def judged(library: Path, seeded: Seeded, **options: Any) -> list[Result]:
    """Returns the results of all checks on a plugin."""
    calls = tuple(map(parse, seeded.calls))
    settings = Options(seeded.config, calls, SEED, seeded.timeout, effort=seeded.effort, **options)
    return run(library, catalogue().values(), settings, lambda result: None)


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs ``backworks plugin test``."""
    return subprocess.run(
        [sys.executable, "-m", "backworks", "plugin", "test", *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


class TestCatalogue:
    """The list of checks."""

    def test_sources(self) -> None:
        """Each check quotes words of the header."""
        text = (sdk.path("c") / "backworks_plugin.h").read_text("utf-8")
        words = " ".join(re.sub(r"^ \*", "", text, flags=re.MULTILINE).split())

        assert not [check.id for check in catalogue().values() if " ".join(check.source.split()) not in words]

    def test_needs(self) -> None:
        """Each check depends only on other checks, without cycles."""
        left = dict(catalogue())
        while free := [check.id for check in left.values() if not set(check.needs) & left.keys()]:
            for each in free:
                del left[each]

        assert not left
        assert {need for check in catalogue().values() for need in check.needs} <= catalogue().keys()

    def test_each_is_proven(self) -> None:
        """For each check there is a plugin that fails it."""
        found = {check for seeded in (*DEFECTS, *ZOO_DEFECTS) for check in seeded.wrong}

        assert found == set(catalogue())


@only_linux
@pytest.mark.parametrize("seeded", DEFECTS, ids=str)
def test_defect(seeded: Seeded, cc: list[str], tmp_path: Path) -> None:
    """A plugin with one defect fails the checks for that defect, and no others."""
    library = build(cc, tmp_path, seeded.name)
    results = judged(library, seeded)

    assert wrong(results) == seeded.wrong, [result for result in results if result.status is not Status.PASS]


@only_linux
@pytest.mark.parametrize("seeded", ZOO_DEFECTS, ids=str)
def test_zoo(seeded: Seeded, zoo: dict[str, Path]) -> None:
    """A hostile plugin fails the checks for its faults and no others, and leaves no process behind."""
    results = judged(zoo[seeded.name], seeded)

    assert wrong(results) == seeded.wrong, [result for result in results if result.status is not Status.PASS]
    assert not has_mapped(private_directory())


class TestGood:
    """Plugins that keep the contract."""

    def test_echo(self, compile_plugin: CompilePlugin) -> None:
        """The smallest plugin passes all checks without a warning."""
        assert wrong(judged(compile_plugin(ECHO), Seeded("echo", {}, effort=1.0))) == {}

    @only_linux
    def test_brings_along(self, cc: list[str], tmp_path: Path) -> None:
        """A plugin finds what is beside it, and the files beside it stay as they are."""
        place = build_dependency(cc, tmp_path / "lib", "value").parent
        library = build_plugin(cc, tmp_path / "libp.so", FROM_LINKED, ["lib"], place)
        names = ("stdout", "stderr", "task", "result", "1-libp.so")
        for name in names:
            (tmp_path / name).write_text("mine", encoding="utf-8")
        content = library.read_bytes()
        results = judged(library, Seeded("linked", {}, effort=0.1))

        assert {result.id: result.status for result in results}["opens"] is Status.PASS
        assert {(tmp_path / name).read_text(encoding="utf-8") for name in names} == {"mine"}
        assert library.read_bytes() == content

    def test_nothing_wrong(self, cc: list[str], tmp_path: Path) -> None:
        """The plugin that all defects are derived from passes all checks without a warning."""
        assert wrong(judged(build(cc, tmp_path, "nothing"), Seeded("nothing", {}, effort=1.0))) == {}

    @only_linux
    def test_collector(self, cc: list[str], tmp_path: Path) -> None:
        """Memory that grows until a garbage collector runs, as in Go, is not a leak."""
        assert wrong(judged(build(cc, tmp_path, "collects_late"), Seeded("collects_late", {}, effort=1.0))) == {}

    @pytest.mark.parametrize("language", weather_plugins.LANGUAGES)
    def test_weather(self, language: str) -> None:
        """The example plugins pass all checks without a warning, and answer their calls."""
        reports = weather_plugins.EXAMPLES / "reports.txt"
        station = re.findall(r"^(?:METAR |SPECI )?([A-Z]{4}) \d{6}Z", reports.read_text("utf-8"), re.MULTILINE)[0]
        config = json.dumps({"reports": str(reports)})
        calls = (f"GET /api/weather/{station}", "GET /api/weather?limit=3")
        results = judged(weather_plugins.library(language), Seeded(language, {}, config, calls, effort=1.0))

        assert wrong(results) == {}
        assert {result.id for result in results if result.status is Status.PASS} >= {"calls-answered", "messages"}


@only_linux
class TestEvidence:
    """The evidence in a result."""

    def test_shrunk(self, cc: list[str], tmp_path: Path) -> None:
        """Random data that crashes a plugin is shrunk to the decisive byte, always the same for a seed."""
        library = build(cc, tmp_path, "data_byte")
        checks = [catalogue()["data-any"]]
        options = Options(seed=SEED, effort=0.2)
        first = run(library, checks, options, lambda result: None)
        second = run(library, checks, options, lambda result: None)

        assert r"data b'\x9f'): the process was ended by SIGABRT (abort)" in first[0].found
        assert first[0].found == second[0].found

    def test_last_words(self, zoo: dict[str, Path]) -> None:
        """The result of a crash has the call, the signal and the last lines of stderr."""
        results = judged(zoo["crashes_in_init"], Seeded("crashes_in_init", {}))
        found = next(result for result in results if result.id == "starts")

        assert "init(config b'{}'): the process was ended by SIGABRT" in found.found
        assert last_words(found.stderr) == ("the last words of init",)

    def test_skipped(self, zoo: dict[str, Path]) -> None:
        """A check that depends on a failed one is skipped, with that reason."""
        results = judged(zoo["segfault"], Seeded("segfault", {}, calls=("POST / bite",)))

        assert {result.blocked_by for result in results} == {"", "answers"}
        assert next(result for result in results if result.id == "threads-free").found.startswith(
            "answers did not pass"
        )


@only_linux
class TestProcessOnly:
    """A plugin whose manifest allows only isolation process."""

    def test_lenient(self, cc: list[str], compile_plugin: CompilePlugin) -> None:
        """Checks about sharing a process are skipped, with the manifest as the reason."""
        source = (Path(__file__).parent / "defects" / "leaves_thread.c").read_text("utf-8")
        flags = [f"-I{Path(__file__).parent / 'defects'}", "-D_GNU_SOURCE", "-pthread"]
        members = '-DMEMBERS="\\"isolation\\": [\\"process\\"]"'
        results = judged(compile_plugin(source, "alone", [*flags, members]), Seeded("alone", {}))
        left = next(result for result in results if result.id == "threads-left")

        assert wrong(results) == {}
        assert left.status is Status.SKIPPED
        assert '"isolation": ["process"]' in left.found


@only_linux
class TestSweep:
    """The end of whatever has mapped a file of a directory."""

    @pytest.fixture(name="crowd")
    def _crowd(self) -> Iterator[None]:
        """Processes that come and go all the time."""
        with subprocess.Popen(["sh", "-c", "while :; do (:) & (:); done"]) as shell:
            yield
            shell.kill()

    @pytest.mark.usefixtures("crowd")
    def test_in_a_crowd(self, compile_plugin: CompilePlugin) -> None:
        """The process with the library is killed, wherever it stands among others that come and go."""
        library = compile_plugin(ECHO)
        host = [sys.executable, "-c", "import ctypes, sys; ctypes.CDLL(sys.argv[1]); print(); sys.stdin.read()"]
        for _ in range(20):
            with subprocess.Popen([*host, library], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                process.stdout.readline()
                sweep(library.parent)

                assert process.wait(PATIENCE) == -signal.SIGKILL

    def test_ends_meanwhile(self) -> None:
        """A process that ends while it is looked at is one that is not there."""
        for _ in range(200):
            child = subprocess.Popen(["true"])
            reaper = threading.Thread(target=child.wait)
            reaper.start()
            while reaper.is_alive():
                assert not _kill_if_mapped(child.pid, "/no/such/directory/")

    def test_is_not_there(self) -> None:
        """Nor is one that has ended, before or after it was reaped."""
        with subprocess.Popen(["true"]) as child:
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

            assert not _kill_if_mapped(child.pid, "/")
        assert not _kill_if_mapped(child.pid, "/")


class TestCommand:
    """``backworks plugin test`` from the shell."""

    def test_good(self, compile_plugin: CompilePlugin) -> None:
        """A good plugin gives one line a test, a sentence at the end, and exit code 0."""
        ran = command(compile_plugin(ECHO), "--seed", "7", "--timeout", str(PATIENCE))

        assert (ran.returncode, ran.stderr) == (0, "")
        assert re.search(r"^  pass     starts +The plugin starts", ran.stdout, re.MULTILINE)
        assert "seed 7." in ran.stdout.splitlines()[-1]
        assert ran.stdout.endswith("The plugin keeps the contract.\n")

    def test_bad(self, cc: list[str], tmp_path: Path) -> None:
        """A failure prints evidence, the header's words and the command to repeat it, and exits with 1."""
        library = build(cc, tmp_path, "code_99")
        ran = command(library, "--only", "codes|answers-kept", "--seed", "7", "--config", '{"a": 1}')
        again = re.search(r"repeat +(backworks .*)", ran.stdout)

        assert ran.returncode == 1
        assert "returned 99, which is not a code of the ABI" in " ".join(ran.stdout.split())
        assert 'header    "Any other number is taken as BACKWORKS_UNKNOWN"' in ran.stdout
        assert again is not None
        quoted = (
            ('"^codes-known$"', r'"{\"a\": 1}"') if sys.platform == "win32" else ("'^codes-known$'", "'{\"a\": 1}'")
        )
        assert f"{library} --only {quoted[0]} --seed 7 --config {quoted[1]}" in again[1]
        assert "2 checks: 1 passed, 1 failed" in ran.stdout

    def test_warning(self, cc: list[str], tmp_path: Path) -> None:
        """A warning is shown, and the exit code is 0."""
        ran = command(build(cc, tmp_path, "shutdown_code"), "--only", "shutdown-ok")

        assert ran.returncode == 0
        assert "fix the warnings of shutdown-ok" in ran.stdout

    def test_json_and_junit(self, cc: list[str], tmp_path: Path) -> None:
        """Both formats list every test with the same outcome."""
        library = build(cc, tmp_path, "prints")
        ran = command(library, "--json", "--junit", tmp_path / "report.xml", "--only", "hygiene")
        told = json.loads(ran.stdout)
        suites = ET.parse(tmp_path / "report.xml").getroot()
        cases = {case.get("name"): case for case in suites.iter("testcase")}

        assert ran.returncode == 1
        assert not told["keeps_the_contract"]
        assert {test["id"] for test in told["tests"]} == cases.keys()
        assert [test["id"] for test in told["tests"] if test["status"] == "fail"] == ["stdout-untouched"]
        assert [name for name, case in cases.items() if case.find("failure") is not None] == ["stdout-untouched"]
        assert suites.find("testsuite").get("failures") == "1"  # type: ignore[union-attr]

    def test_list(self) -> None:
        """Every test is listed with its group and sentence; --only selects from them."""
        ran = command("--list")
        some = json.loads(command("--list", "--only", "^time$", "--json").stdout)

        assert [line.split()[1] for line in ran.stdout.splitlines()[1:]] == list(catalogue())
        assert {entry["group"] for entry in some} == {"time"}

    @pytest.mark.parametrize(
        ("arguments", "code", "says"),
        [
            (("no-such-file.so",), 4, "does not exist"),
            ((__file__,), 4, "not a library"),
            ((), 2, "missing FILE"),
            ((__file__, "--only", "nothing"), 2, "with --list"),
            ((__file__, "--only", "("), 2, "not a valid regular expression"),
            ((__file__, "--call", "GET"), 2, "METHOD ENDPOINT"),
            ((__file__, "--config", "[]"), 2, "JSON object"),
        ],
    )
    def test_usage_errors(self, arguments: tuple[str, ...], code: int, says: str) -> None:
        """A usage error prints one sentence and has its own exit code."""
        ran = command(*arguments)

        assert ran.returncode == code
        assert says in ran.stderr
        assert "Traceback" not in ran.stderr

    def test_junit_not_written(self, compile_plugin: CompilePlugin, tmp_path: Path) -> None:
        """A report that cannot be written is an error before any test runs."""
        ran = command(compile_plugin(ECHO), "--junit", tmp_path / "no" / "report.xml")

        assert ran.returncode == 2
        assert "cannot write" in ran.stderr
        assert ran.stdout == ""


OVERREAD = """
#define ON_CALL {                                                       \\
    char *copy = malloc(8);                                             \\
    volatile char *volatile end = copy + 8;                             \\
    if (copy == NULL || *end == 77) return BACKWORKS_INTERNAL;          \\
    free(copy);                                                         \\
  }
#include "good.h"
"""


@only_linux
class TestMemoryTools:
    """The same tests, with a tool that checks each memory access."""

    FLAGS = (f"-I{Path(__file__).parent / 'defects'}", "-D_GNU_SOURCE", "-pthread")

    def test_valgrind(self, compile_plugin: CompilePlugin) -> None:
        """Under valgrind a read past an allocation is a failure with its location; a conforming plugin passes."""
        if shutil.which("valgrind") is None:
            missing("valgrind")
        checks = [catalogue()["answers"]]
        options = Options(seed=SEED, timeout=PATIENCE, valgrind=True)
        libraries = compile_plugin(OVERREAD, "overread", self.FLAGS), compile_plugin(ECHO)
        with ThreadPoolExecutor(2) as pool:  # most of the time goes into Python's startup
            bad, good = pool.map(lambda library: run(library, checks, options, lambda result: None), libraries)

        assert bad[0].status is Status.FAIL
        assert "Invalid read of size 1" in bad[0].found
        assert "in backworks_plugin_process_endpoint_data (good.h:" in bad[0].found
        assert good[0].status is Status.PASS, good

    def test_sanitizer(self, compile_plugin: CompilePlugin) -> None:
        """A build with AddressSanitizer can be tested: its report is a crash with a summary."""
        flags = [*self.FLAGS, "-fsanitize=address"]
        checks = [catalogue()[name] for name in ("answers", "free-null")]
        options = Options(seed=SEED, timeout=PATIENCE)
        bad = run(compile_plugin(OVERREAD, "overread", flags), checks, options, lambda result: None)
        good = run(compile_plugin(ECHO, "echo", ["-fsanitize=address"]), checks, options, lambda result: None)

        assert wrong(bad) == {"answers": Status.CRASH}
        assert any("heap-buffer-overflow" in line for result in bad for line in result.stderr), bad
        assert wrong(good) == {}
