"""The weather plugins under broken and hostile input.

Invariant: whatever the data, the endpoint and the reports are, a call returns soon, with JSON or with INVALID_ARGUMENT
or NOT_FOUND, the same from both plugins, and touches no memory that is not its own.
"""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import missing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from weather_plugins import EXAMPLES, LANGUAGES, ask, load, request
from weather_reports import NO_REPORTS, REFUSED, REPORTS, UNPARSED

import backworks
from backworks import sdk

SEEDS = [*REPORTS, *(EXAMPLES / "reports.txt").read_text("utf-8").splitlines()[1:]]
WORDS = sorted({word for report in SEEDS for word in report.split()})
PIECES = (
    "FEW",
    "///",
    "0",
    "1/4",
    "SM",
    "M",
    "VV",
    "12",
    "R24",
    "/",
    "KT",
    "RA",
    "SH",
    "CB",
    "P",
    "+",
    "V",
    "G",
    "A",
    "Q",
)

#: Seconds that one call may take, on a slow and busy machine.
SOON = 2.0


def _flip(chance: random.Random, report: bytearray) -> bytes:
    """Changes bytes to any others."""
    for _ in range(chance.randint(1, 2)):
        if report:
            report[chance.randrange(len(report))] = chance.randrange(256)
    return bytes(report)


def _misspell(chance: random.Random, report: bytearray) -> bytes:
    """Changes characters to others that occur in reports."""
    for _ in range(chance.randint(1, 2)):
        if report:
            report[chance.randrange(len(report))] = chance.choice(b"0123456789/MPVRKTSGABCQ -+\n=$")
    return bytes(report)


def _cut(chance: random.Random, report: bytearray) -> bytes:
    """Takes a piece out, from either end or the middle."""
    start, end = sorted(chance.randint(0, len(report)) for _ in range(2))
    return bytes(report[:start] + report[end:]) if chance.random() < 0.5 else bytes(report[start:end])


def _insert(chance: random.Random, report: bytearray) -> bytes:
    """Puts another report's groups between the groups."""
    groups = bytes(report).split()
    for _ in range(chance.randint(1, 2)):
        groups.insert(chance.randint(0, len(groups)), chance.choice(WORDS).encode())
    return b" ".join(groups)


def _invent(chance: random.Random, report: bytearray) -> bytes:
    """Replaces a group by one that is put together from pieces of groups."""
    groups = bytes(report).split() or [b""]
    pieces = "".join(chance.choice(PIECES) for _ in range(chance.randint(1, 6)))
    groups[chance.randrange(len(groups))] = pieces.encode()
    return b" ".join(groups)


def _wrap(chance: random.Random, report: bytearray) -> bytes:
    """Puts the report into the JSON of a request, and breaks that."""
    body = bytes(report).decode("latin-1")
    data = bytearray(request("POST", body, {"limit": str(chance.randint(-1, 9))}, station="KBLV").encode())
    if chance.random() < 0.5:
        data = bytearray(data.replace(b'"station": "KBLV"', b""))
    for _ in range(chance.randint(0, 2)):
        data[chance.randrange(len(data))] = chance.choice(b'0123456789"\\u{}[]:,eE+-.dD8 \xff\xc3a')
    return bytes(data)


MUTATIONS: list[Callable[[random.Random, bytearray], bytes]] = [_flip, _misspell, _cut, _insert, _invent, _wrap]


def mutated(seed: int, count: int) -> Iterator[bytes]:
    """Makes broken reports, the same ones for the same seed."""
    chance = random.Random(seed)
    for _ in range(count):
        report = chance.choice(SEEDS).encode()
        for _ in range(chance.choice((1, 1, 2))):
            report = chance.choice(MUTATIONS)(chance, bytearray(report))
        yield report


#: Data that is long, deep or odd in one way.
HUGE = {
    "one group": b"K" * (1 << 20),
    "many groups": b"KJFK 092351Z " + b"RA " * (1 << 18),
    "spaces": b"KJFK 092351Z" + b" " * (1 << 20) + b"XYZZY",
    "only spaces": b" \t\r\n" * (1 << 18),
    "NULs": b"\0" * (1 << 20),
    "slashes": b"KJFK 092351Z " + b"/" * 2000,
    "digits": b"KJFK 092351Z " + b"9" * 2000,
    "unknown groups": b"KJFK 092351Z" + b' "' * 1018,
    "letters": b"KJFK 092351Z " + b"O" * 2000,
    "directions": b"KJFK 092351Z CB" + b" NNE" * 500,
    "directions in a group": b"KJFK 092351Z CB/" + b"N/" * 1000,
    "layers in a group": b"KJFK 092351Z " + b"FEW001" * 330,
    "pairs": b"KJFK 092351Z" + b" 1 1/2" * 330,
    "spaces in a group": b"KJFK 092351Z CB" + b" " * 2000 + b"TO",
    "colours": b"KJFK 092351Z " + b"BLU/" * 500,
    "remarks": b"KJFK 092351Z RMK" + b" T00000000" * 200,
    "quotes": b"KJFK 092351Z RMK " + b'"\\' * 1000,
    "brackets": b'{"a":' + b"[" * (1 << 20),
    "braces": b'{"a":' * (1 << 18),
    "a string": b'{"path_params": {}, "body": "' + b"K" * (1 << 20) + b'"}',
    "escapes": b'{"path_params": {}, "body": "' + b"\\u0041" * (1 << 18) + b'"}',
    "a number": b'{"path_params": ' + b"1" * (1 << 20) + b"}",
    "members": b'{"path_params": {}' + b',"body":1' * (1 << 17) + b"}",
    "backslashes": b'{"path_params": {}, "body": "' + b"\\" * (1 << 20),
}


@pytest.fixture(name="both", scope="module")
def _both() -> Iterator[list[backworks.Plugin]]:
    plugins = [load(language, EXAMPLES / "reports.txt") for language in LANGUAGES]
    yield plugins
    for plugin in plugins:
        plugin.close()


@pytest.fixture(name="both_strict", scope="module")
def _both_strict() -> Iterator[list[backworks.Plugin]]:
    plugins = [load(language, EXAMPLES / "reports.txt", strict=True) for language in LANGUAGES]
    yield plugins
    for plugin in plugins:
        plugin.close()


def check(plugins: list[backworks.Plugin], data: str | bytes, endpoint: str = "/api/weather") -> None:
    """Asks both plugins in every way, and holds them to the invariant."""
    for method in ("POST", "GET"):
        answers = []
        for plugin in plugins:
            started = time.process_time()
            answers.append(ask(plugin, method, data, endpoint))
            took = time.process_time() - started

            assert took < SOON, f"{plugin.name} took {took:.1f} s"
        assert answers[0] == answers[1]
        if isinstance(answers[0], tuple):
            assert answers[0][0] in {"INVALID_ARGUMENT", "NOT_FOUND"}
        elif answers[0] is not None:
            json.loads(answers[0], parse_constant=pytest.fail)


def test_mutated_reports_are_answered_alike(both: list[backworks.Plugin]) -> None:
    """Both plugins give the same bytes for 4,000 reports with flipped bytes, cuts, and groups in wrong places."""
    decoded = 0
    for data in mutated(seed=1, count=4000):
        check(both, data)
        decoded += isinstance(ask(both[0], "POST", data), bytes)

    assert 500 < decoded < 3500, "the mutations should break some of the reports and leave others"


def test_a_strict_reading_answers_alike(both_strict: list[backworks.Plugin]) -> None:
    """Both plugins refuse 2,000 broken reports with the same messages if they are strict."""
    for data in [*mutated(seed=3, count=2000), *(report.encode() for report in [*REFUSED, *UNPARSED])]:
        check(both_strict, data)


def test_real_and_foreign_reports_are_answered_alike(both: list[backworks.Plugin]) -> None:
    """Both plugins give the same bytes for each of the 1,000 real reports, and for those of other countries."""
    real = Path(__file__).parent / "data" / "metar" / "us-2018-01-09.jsonl"
    for line in real.read_text("utf-8").splitlines():
        check(both, json.loads(line)["raw_text"])
    for report in [*SEEDS, *NO_REPORTS, *REFUSED, *UNPARSED]:
        check(both, report)


@pytest.mark.parametrize("what", HUGE)
def test_huge_data_is_refused_or_answered_soon(both: list[backworks.Plugin], what: str) -> None:
    """A megabyte of anything is answered within the time of a call, in the same way by both."""
    check(both, HUGE[what])


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["station", "limit"]), inner),
    max_leaves=6,
)
_REQUEST = st.dictionaries(st.sampled_from(["path_params", "query", "body"]) | st.text(), _JSON)
_FEW = settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@_FEW
@given(data=st.binary() | st.text().map(str.encode), endpoint=st.text())
def test_any_bytes_are_answered_alike(both: list[backworks.Plugin], data: bytes, endpoint: str) -> None:
    """Both plugins do the same with any bytes at any endpoint."""
    check(both, data)
    check(both, data, endpoint)
    check(both, data, f"/api/weather/{endpoint}")
    check(both, data, f"/api/weather?limit={endpoint}")


@_FEW
@given(value=_REQUEST, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
def test_any_json_is_answered_alike(
    both: list[backworks.Plugin], value: dict[str, Any], ascii_only: bool, indent: int | None
) -> None:
    """Both plugins read any request in JSON in the same way."""
    check(both, json.dumps({"path_params": {}} | value, ensure_ascii=ascii_only, indent=indent))


@pytest.fixture(name="driver", scope="module")
def _driver(cc: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    if sys.platform == "win32":
        pytest.skip("the C compilers of MinGW have no sanitizers")
    directory = tmp_path_factory.mktemp("sanitized")
    command = [*cc, "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1", "-std=c11"]
    probe = directory / "probe.c"
    probe.write_text("int main(void) { return 0; }\n", encoding="utf-8")
    if subprocess.run([*command, str(probe), "-o", str(directory / "probe")], check=False).returncode:
        missing("a C compiler with sanitizers")
    sources = sorted((EXAMPLES / "weather_plugin_c").glob("*.c"))
    driver = directory / "driver"
    strict = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", f"-I{sdk.path('c')}"]
    command += [*strict, str(Path(__file__).with_name("weather_fuzz_driver.c")), *map(str, sources), "-o", str(driver)]
    subprocess.run(command, check=True)
    return driver


def test_the_sanitizers_find_nothing(driver: Path, tmp_path: Path) -> None:
    """The C plugin runs over 3,000 broken reports, requests, endpoints, configurations and a file of them, unharmed."""
    broken = [*mutated(seed=2, count=3000), *(data[: 1 << 16] for data in HUGE.values())]
    configs = [b'{"reports": %s}' % json.dumps(text).encode() for text in ("", "/", ".", "\0", str(tmp_path))]
    configs += [b'{"strict": true}', b'{"strict": "', b'{"strict": 1, "reports": ""}']
    records = tmp_path / "records"
    records.write_bytes(b"".join(struct.pack("<I", len(data)) + data for data in broken + configs))
    reports = tmp_path / "reports.txt"
    reports.write_bytes(b"\n".join(broken))

    run = subprocess.run([driver, records, reports], capture_output=True, text=True, check=False)

    assert run.stderr == ""
    assert run.returncode == 0
    assert run.stdout == f"{4 * (len(broken) + len(configs))} calls\n"
