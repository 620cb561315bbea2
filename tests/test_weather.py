"""The weather plugins: the same behaviour in C and in Rust, checked on real reports."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import compare_reports
import pytest
from weather_plugins import EXAMPLES, LANGUAGES, ask, decode, library, load, request
from weather_reports import NO_REPORTS, REFUSED, REPORTS, UNPARSED

import backworks
from backworks import ffi

REAL = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "metar" / "us-2018-01-09.jsonl").read_text("utf-8").splitlines()
]

#: The stations whose report differs from the service's decoding, and in what: it writes direction 0 for variable wind,
#: and no flight category where the sky is missing, also below one mile.
VARIABLE_WIND = {"KCGF", "KCNO", "KSMP", "KPAN", "KGHG", "KMQS", "K2A0", "KX60", "KMEH", "KVAF"}
NO_SKY = {"K2D5", "KUTA"}


@pytest.fixture(name="language", params=LANGUAGES)
def _language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(name="plugin")
def _plugin(language: str) -> Any:
    with load(language) as plugin:
        yield plugin


@pytest.fixture(name="strict")
def _strict(language: str) -> Any:
    with load(language, strict=True) as plugin:
        yield plugin


@pytest.fixture(name="server")
def _server(language: str) -> Any:
    with load(language, EXAMPLES / "reports.txt") as plugin:
        yield plugin


def as_the_service(answer: dict[str, Any]) -> dict[str, Any]:
    """Returns a decoded report with the names and the habits of the service: what is absent has no member."""
    observed = answer["observed"]
    layers = [
        {"cover": layer["cover"]} | ({} if layer["base_ft"] is None else {"base_ft_agl": layer["base_ft"]})
        for layer in answer["sky"] or []
    ]
    members = compare_reports.members(answer) | {
        "raw_text": answer["raw"],
        "station_id": answer["station"],
        "observation_time": f"2018-01-{observed['day']:02}T{observed['hour']:02}:{observed['minute']:02}:00Z",
        "sky_condition": layers or None,
        "auto": answer["auto"],
    }
    return {name: value for name, value in members.items() if value is not None}


def of_the_service(real: dict[str, Any]) -> dict[str, Any]:
    """Returns the service's decoding without what a plugin does not tell; its altimeter has gone through hPa."""
    untold = {"latitude", "longitude", "elevation_m", "precip_in", "metar_type", "quality_control_flags"}
    members = {name: value for name, value in real.items() if name not in untold}
    if "altim_in_hg" in members:
        members["altim_in_hg"] = round(members["altim_in_hg"], 2)
    return members | {"auto": "auto" in real.get("quality_control_flags", [])}


def test_real_reports_are_decoded_as_by_the_weather_service(plugin: backworks.Plugin) -> None:
    """All fields of 1,000 real reports equal the decoding of the US weather service, but for twelve that it lacks."""
    differing = {}
    for real in REAL:
        answer = decode(plugin, real["raw_text"])
        ours, theirs = as_the_service(answer), of_the_service(real)
        if ours != theirs:
            differing[real["station_id"]] = ours, theirs
        assert answer["type"] is None, "none of these reports states its type"

    assert len(REAL) == 1000
    assert set(differing) == VARIABLE_WIND | NO_SKY
    for station, (ours, theirs) in differing.items():
        if station in NO_SKY:
            assert ours == theirs | {"flight_category": "LIFR"}
        else:
            assert theirs == ours | {"wind_dir_degrees": 0}


@pytest.mark.parametrize("report", REPORTS)
def test_reports_of_many_countries_are_decoded(plugin: backworks.Plugin, report: str) -> None:
    """Units, words and habits of other countries come out in the one form, with null for what is absent."""
    answer = decode(plugin, report)
    words = [word for word in report.split() if word not in {"METAR", "SPECI", "COR"}]
    time = words[1]

    assert answer.pop("station") == words[0]
    assert answer.pop("observed") == {"day": int(time[:2]), "hour": int(time[2:4]), "minute": int(time[4:6])}
    assert answer.pop("raw") == report
    assert answer == REPORTS[report]


@pytest.mark.parametrize("report", NO_REPORTS)
def test_what_is_no_report_is_refused_with_its_place(plugin: backworks.Plugin, report: str) -> None:
    """Text without station and time is INVALID_ARGUMENT, and the message names the group and where it stands."""
    assert ask(plugin, "POST", report) == ("INVALID_ARGUMENT", NO_REPORTS[report])


@pytest.mark.parametrize("report", [*NO_REPORTS, *REFUSED])
def test_a_strict_reading_refuses_what_is_not_understood(strict: backworks.Plugin, report: str) -> None:
    """If strict, the first group that is not understood is INVALID_ARGUMENT, and named with its place."""
    assert ask(strict, "POST", report) == ("INVALID_ARGUMENT", (NO_REPORTS | REFUSED)[report])


@pytest.mark.parametrize("report", REPORTS)
def test_a_strict_reading_takes_what_is_understood(strict: backworks.Plugin, report: str) -> None:
    """If nothing is left over, a strict reading gives the same answer."""
    assert {name: decode(strict, report)[name] for name in REPORTS[report]} == REPORTS[report]


@pytest.mark.parametrize("report", [*UNPARSED, *REFUSED])
def test_what_is_not_understood_costs_only_itself(plugin: backworks.Plugin, report: str) -> None:
    """Such groups are listed with their columns in `raw`, and nothing else of the report changes."""
    answer = decode(plugin, report)
    unparsed, raw = answer.pop("unparsed"), answer.pop("raw")
    places = [(item["group"], item["column"]) for item in unparsed]
    rest = raw.rstrip("=")
    for group, column in reversed(places):
        assert raw[column - 1 :].startswith(group)
        rest = rest[: column - 1] + rest[column - 1 + len(group) :].lstrip(".,;")
    without = decode(plugin, rest)

    assert places == UNPARSED.get(report, places)
    assert places
    assert without.pop("unparsed") == []
    assert without.pop("raw") == rest.strip()
    assert answer == without


def test_everything_unparsed_is_still_bounded(plugin: backworks.Plugin) -> None:
    """The longest answer, to a report of quotes as groups, has less than 48 KiB."""
    report = "KJFK 092351Z" + ' "' * 1018
    answer = ask(plugin, "POST", report)

    assert isinstance(answer, bytes)
    assert len(json.loads(answer)["unparsed"]) == 1018
    assert len(answer) < 48 << 10


def test_the_answer_has_one_form(plugin: backworks.Plugin) -> None:
    """The members have a fixed order, without spaces; numbers have no trailing zeros, and raw is escaped."""
    report = (
        ' KDEN 092353Z 00000KT 2 1/2SM R35L/P6000FT OVC010CB \\" CB N M00/00 A3010 Q1019 RF00.0/010.5 '
        'RMK T10001005 SLP000 "\\"\n'
    )
    expected = (
        '{"station":"KDEN","observed":{"day":9,"hour":23,"minute":53},"type":null,"auto":false,'
        '"wind":{"direction_deg":0,"speed_kt":0,"gust_kt":null,"estimated":false},"visibility_mi":2.5,'
        '"minimum_visibility":null,"runway_visual_range":"R35L/P6000FT","weather":null,'
        '"sky":[{"cover":"OVC","base_ft":1000,"type":"CB"}],"vertical_visibility_ft":null,'
        '"convection":[{"type":"CB","directions":["N"]}],"temperature_c":0,"dewpoint_c":-0.5,'
        '"altimeter_inhg":30.1,"altimeter_hpa":1019,"sea_level_pressure_hpa":1000,"station_pressure_hpa":null,'
        '"rainfall":{"last_10_minutes_mm":0,"since_9_mm":10.5},"runway_state":null,"colour_state":null,'
        '"flight_category":"IFR","unparsed":[{"group":"\\\\\\"","column":52}],'
        '"raw":"KDEN 092353Z 00000KT 2 1/2SM R35L/P6000FT OVC010CB \\\\\\" CB N M00/00 A3010 Q1019 RF00.0/010.5 '
        'RMK T10001005 SLP000 \\"\\\\\\""}'
    )

    assert ask(plugin, "POST", report) == expected.encode()


@pytest.mark.parametrize(
    ("sky", "miles", "category"),
    [
        ("OVC004", "10SM", "LIFR"),
        ("CLR", "3/4SM", "LIFR"),
        ("BKN005", "10SM", "IFR"),
        ("SKC", "1SM", "IFR"),
        ("OVC009", "10SM", "IFR"),
        ("SCT001", "2 3/4SM", "IFR"),
        ("BKN010", "10SM", "MVFR"),
        ("OVC030", "10SM", "MVFR"),
        ("FEW001", "3SM", "MVFR"),
        ("CLR", "5SM", "MVFR"),
        ("OVC031", "6SM", "VFR"),
        ("FEW///", "10SM", "VFR"),
        ("OVC///", "10SM", None),
        ("VV///", "10SM", None),
        ("", "10SM", None),
        ("OVC005", "", None),
        ("CLR", "", None),
        ("BKN004 OVC///", "10SM", "LIFR"),
        ("OVC/// BKN004", "10SM", "LIFR"),
        ("BKN005 //////CB", "10SM", None),
        ("VV///", "1/4SM", "LIFR"),
        ("VV003", "", "LIFR"),
        ("///010", "1/2SM", "LIFR"),
        ("", "0900", "LIFR"),
        ("", "M1/4SM", "LIFR"),
        ("OVC004", "", "LIFR"),
        ("OVC004", "////", "LIFR"),
    ],
)
def test_flight_category(plugin: backworks.Plugin, sky: str, miles: str, category: str | None) -> None:
    """The lower of ceiling and visibility decides, at the limits of the weather service; null if that is unknown."""
    assert decode(plugin, f"KJFK 092351Z {miles} {sky} 05/04")["flight_category"] == category


def test_a_station_is_answered_with_its_newest_report(server: backworks.Plugin) -> None:
    """The newest of a station's reports is served, wherever the plugin is mounted and however the name is written."""
    over_http = ask(server, "GET", request(station="KBLV"), endpoint="/somewhere/else/{station}")

    assert isinstance(over_http, bytes)
    assert json.loads(over_http)["observed"] == {"day": 9, "hour": 22, "minute": 46}
    assert ask(server, "GET", endpoint="/api/weather/KBLV") == over_http
    assert ask(server, "GET", request(station="kblv")) == over_http
    assert ask(server, "GET", request(), endpoint="/api/weather/KBLV") == over_http


@pytest.mark.parametrize("name", ["XXXX", "KBL", "KBLVV", "K\u00fc", "K\0LV", "A" * 100])
def test_an_unknown_station_is_not_found(server: backworks.Plugin, name: str) -> None:
    """The message names the station that was asked for, cut and made printable where it has to be."""
    shown = "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in name.encode()[:24]) + "..." * (len(name) > 24)

    assert ask(server, "GET", request(station=name)) == ("NOT_FOUND", f"no report for station {shown}")


def test_the_stations_are_listed(server: backworks.Plugin) -> None:
    """The list counts all stations, and shows the first ones in the order of their names."""
    everything = ask(server, "GET", request())
    assert isinstance(everything, bytes)
    stations = json.loads(everything)["stations"]

    assert stations == sorted(set(stations))
    assert json.loads(everything)["count"] == len(stations) == 30
    some = b'{"count":30,"stations":["K0R4","KAAA"]}'
    assert ask(server, "GET", request(query={"limit": "2"})) == some
    assert ask(server, "GET", endpoint="/api/weather?limit=2") == some
    assert ask(server, "GET", endpoint="/api/weather") == everything
    assert ask(server, "GET", request(query={"limit": "999999999"})) == everything


@pytest.mark.parametrize("limit", ["0", "-1", "two", "", "1.5", "+3", "1000000000", "\u0663", "9" * 400])
def test_a_limit_is_a_positive_whole_number(server: backworks.Plugin, limit: str) -> None:
    """Any other limit is INVALID_ARGUMENT, with what was found and what is accepted."""
    answer = ask(server, "GET", request(query={"limit": limit}))

    assert isinstance(answer, tuple)
    assert answer[0] == "INVALID_ARGUMENT"
    assert answer[1].startswith("limit is '")
    assert answer[1].endswith("'; 1 to 999999999 is accepted")


def test_a_limit_is_given_once(server: backworks.Plugin) -> None:
    """Two limits are INVALID_ARGUMENT."""
    message = "limit is given more than once, or is no text"

    assert ask(server, "GET", request(query={"limit": ["1", "2"]})) == ("INVALID_ARGUMENT", message)


def test_a_report_in_the_body_is_decoded(plugin: backworks.Plugin) -> None:
    """A report is decoded alike as the data itself, as text in the request's JSON, and with escapes there."""
    report = "KJFK 092351Z 36005KT 10SM CLR 05/M06 A2992"
    escaped = request("POST", report).replace("KJFK", "K\\u004aFK")

    assert decode(plugin, report)["station"] == "KJFK"
    assert ask(plugin, "POST", request("POST", report)) == ask(plugin, "POST", report)
    assert ask(plugin, "POST", escaped) == ask(plugin, "POST", report)


@pytest.mark.parametrize("body", [None, {"report": "KJFK"}, 7, ["KJFK 092351Z"], {"base64": "AAAA"}])
def test_a_body_that_is_no_text_is_refused(plugin: backworks.Plugin, body: object) -> None:
    """A body that is absent or no text is INVALID_ARGUMENT, and the message says what to send."""
    message = "the body is no text; send one report as text/plain"

    assert ask(plugin, "POST", request("POST", body)) == ("INVALID_ARGUMENT", message)


@pytest.mark.parametrize(
    ("method", "data", "endpoint"),
    [
        ("PUT", request("PUT"), "/api/weather"),
        ("DELETE", "", "/api/weather/KJFK"),
        ("POST", request("POST", "KJFK 092351Z", station="KJFK"), "/api/weather/{station}"),
        ("GET", "", "/api/weatherman"),
        ("GET", "", "/api/weather/KJFK/history"),
        ("GET", "", "/"),
        ("GET", "{}", "/other"),
        ("POST", "KJFK 092351Z", "/other"),
    ],
)
def test_what_is_not_weather_is_not_mine(plugin: backworks.Plugin, method: str, data: str, endpoint: str) -> None:
    """Other methods and endpoints are left to others."""
    assert ask(plugin, method, data, endpoint) is None


@pytest.mark.parametrize(
    "data",
    [
        "{", "{}x", "{'a': 1}", '{"a": }', '{"a": 1,}', '{"a": 01}', '{"a": 1.}', '{"a": .5}', '{"a": 1e}', '{"a": +1}',
        '{"a": 1e999}', '{"a": "\n"}', '{"a": "\\x"}', '{"a": "\\u12"}', '{"a": "\\ud800"}', '{"a": "\\ud800\\u0041"}',
        '{"a": "\\udc00"}', '{"a": tru}', '{"a": [1}', "{1: 2}", '{"a" 1}', '{"a": {"b": [}}', '{"a": "', '{"a',
        '{"a": ' + "[" * 127 + "]" * 127 + "}", '{"a": ' + "[" * 100_000, "{\x0c}", '{"a": NaN}', '{"a": 0x10}', "{\0}",
    ],
)  # fmt: skip
def test_data_that_begins_like_json_has_to_be_json(plugin: backworks.Plugin, data: str) -> None:
    """Broken JSON is INVALID_ARGUMENT, however deep or cut off."""
    message = "the data begins like the JSON of a request, but is not JSON"

    assert ask(plugin, "POST", data) == ("INVALID_ARGUMENT", message)


@pytest.mark.parametrize(
    "extra",
    [
        '"a": [1, -0, 2.5e-3, 1E+5, true, false, null, "", {}, []]',
        '"a": {"body": "no", "path_params": 1}',
        '"a": ' + "[" * 126 + "]" * 126,
        '"\\u0061": "\\ud83d\\ude00 \\" \\\\ \\/ \\b\\f\\n\\r\\t", "\u00e9": "\U0001f600"',
        '"body": 1, "body": "KXXX"',
    ],
)
def test_other_members_of_the_request_are_skipped(plugin: backworks.Plugin, extra: str) -> None:
    """Whatever else the JSON holds is skipped; of two members with one name the last counts."""
    data = " {" + extra + ' , "path_params" : {} ,\t"bod\\u0079": "KJFK 092351Z" }\r\n'

    answer = ask(plugin, "POST", data)

    assert isinstance(answer, bytes)
    assert json.loads(answer)["station"] == "KJFK"


@pytest.mark.parametrize(
    ("data", "byte", "position"),
    [
        (b"KJFK \xff", 0xFF, 5),
        (b"KJFK \xc3", 0xC3, 5),
        (b"\xe2\x82\xac\xe2\x82", 0xE2, 3),
        (b"\xc0\x80", 0xC0, 0),
        (b"a\xed\xa0\x80", 0xED, 1),
        (b"\xf4\x90\x80\x80", 0xF4, 0),
        (b"\xf0\x80\x80\x80", 0xF0, 0),
        (b"\xe0\x9f\xbf", 0xE0, 0),
        (b'{"path_params": {}, "body": "\x80"}', 0x80, 29),
    ],
)
def test_data_has_to_be_utf_8(plugin: backworks.Plugin, data: bytes, byte: int, position: int) -> None:
    """Data that is not UTF-8 is INVALID_ARGUMENT, and the message names the byte and its position."""
    message = f"the data is not UTF-8: byte 0x{byte:02x} at position {position}"

    assert ask(plugin, "POST", data) == ("INVALID_ARGUMENT", message)


def test_without_a_configuration_it_only_decodes(plugin: backworks.Plugin) -> None:
    """Without reports there are no stations, and decoding works."""
    assert ask(plugin, "GET", request()) == b'{"count":0,"stations":[]}'
    assert ask(plugin, "GET", request(station="KJFK")) == ("NOT_FOUND", "no report for station KJFK")
    assert decode(plugin, "KJFK 092351Z")["station"] == "KJFK"


@pytest.mark.parametrize(
    ("times", "newest"),
    [
        (["092351", "092251"], "092351"),
        (["092251", "092351"], "092351"),
        (["092351", "092351"], "092351 second"),
        (["010010", "312350"], "010010"),
        (["312350", "010010"], "010010"),
        (["010010", "160010"], "160010"),
        (["010010", "160011"], "010010"),
        (["280000", "302300", "010500", "292300"], "010500"),
    ],
)
def test_the_newest_report_counts(language: str, tmp_path: Path, times: list[str], newest: str) -> None:
    """More than half a month apart means that the month has changed; in the same minute the later line counts."""
    lines = [f"KJFK {time}Z RMK {'second' if i and times[i - 1] == time else ''}" for i, time in enumerate(times)]
    reports = tmp_path / "reports.txt"
    reports.write_text("\n".join(lines), encoding="utf-8")

    with load(language, reports) as plugin:
        answer = ask(plugin, "GET", request(station="KJFK"))

    assert isinstance(answer, bytes)
    time, _, remark = newest.partition(" ")
    assert json.loads(answer)["raw"] == f"KJFK {time}Z RMK {remark}".strip()


def test_lines_that_are_no_reports_are_skipped_with_a_warning(
    language: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten such lines are named, then only their number; empty lines and comments are no matter."""
    bad = b"".join(b"LINE %d\r\n" % n for n in range(3, 18))
    reports = tmp_path / "reports.txt"
    reports.write_bytes(b"# comment\r\n\r\n" + bad + b"\xff\xfe\0\r\n" + b"K" * 5000 + b"\nKJFK 092351Z\r\n")

    with caplog.at_level(logging.DEBUG), load(language, reports) as plugin:
        answer = ask(plugin, "GET", request())

    assert answer == b'{"count":1,"stations":["KJFK"]}'
    records = [record for record in caplog.records if record.name.startswith("backworks.plugin.")]
    warnings = [record.getMessage() for record in records if record.levelno == logging.WARNING]
    wanted = "group 2 '{}' at column 6 is no time of observation (ddhhmmZ)"
    assert warnings == [
        *(f"line {n} of the reports is skipped: {wanted.format(n)}" for n in range(3, 13)),
        "17 lines of the reports are skipped in all",
    ]
    assert [record.getMessage() for record in records if record.levelno == logging.INFO] == [
        "stations with a report: 1"
    ]


@pytest.mark.parametrize(("config", "count"), [({}, 2), ({"strict": False}, 2), ({"strict": True}, 1)])
def test_a_strict_file_has_no_reports_that_are_not_understood(
    language: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, config: dict[str, bool], count: int
) -> None:
    """A line with such a group is kept, or if strict, skipped with a warning."""
    reports = tmp_path / "reports.txt"
    reports.write_bytes(b"KJFK 092351Z 10SM\nKLGA 092351Z 10SM XYZZY\n")

    with caplog.at_level(logging.WARNING), load(language, reports, **config) as plugin:
        answer = ask(plugin, "GET", request())

    assert isinstance(answer, bytes)
    assert json.loads(answer)["count"] == count
    warning = "line 2 of the reports is skipped: group 4 'XYZZY' at column 19 is not understood"
    assert [record.getMessage() for record in caplog.records] == [warning] * (2 - count)


@pytest.mark.parametrize("line", [b"KJFK 092351Z", b"# a comment\nKJFK 092351Z", b"\r\nKJFK 092351Z"])
def test_a_byte_order_mark_is_not_content(
    language: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, line: bytes
) -> None:
    """A file with the byte order mark of UTF-8 is read as one without; elsewhere the mark is no ASCII."""
    reports = tmp_path / "reports.txt"
    reports.write_bytes(b"\xef\xbb\xbf" + line + b"\n\xef\xbb\xbfKLGA 092351Z\n")

    with caplog.at_level(logging.WARNING), load(language, reports) as plugin:
        answer = ask(plugin, "GET", request())

    assert answer == b'{"count":1,"stations":["KJFK"]}'
    number = line.count(b"\n") + 2
    warning = f"line {number} of the reports is skipped: byte 0xef at column 1 is not printable ASCII, as a report is"
    assert [record.getMessage() for record in caplog.records] == [warning]


@pytest.mark.parametrize("content", [b"", b"\n", b"KJFK 092351Z", b"KJFK 092351Z\n\n", b"\r\n#\r\nKJFK 092351Z\r\n"])
def test_the_last_line_may_end_in_any_way(language: str, tmp_path: Path, content: bytes) -> None:
    """An empty file, and one without a line break at its end, are read."""
    reports = tmp_path / "reports.txt"
    reports.write_bytes(content)

    with load(language, reports) as plugin:
        answer = ask(plugin, "GET", request())

    stations = ["KJFK"] if b"KJFK" in content else []
    assert isinstance(answer, bytes)
    assert json.loads(answer) == {"count": len(stations), "stations": stations}


def start(language: str, config: bytes) -> tuple[int, str]:
    """Initialises a plugin past the host's own checks; returns the code and the message."""
    opened = ffi.binding().open(str(library(language)))
    reply, instance = opened.init(config, lambda level, text: None)
    if instance is not None:
        instance.shutdown()
    return reply.code, (reply.data or b"").decode()


def test_reports_that_are_not_there(language: str, tmp_path: Path) -> None:
    """A missing file is NOT_FOUND; a directory, and what is too large, INVALID_ARGUMENT; each is named."""
    absent, large = tmp_path / "K\u00f6ln.txt", tmp_path / "large.txt"
    with large.open("wb") as file:
        file.truncate((64 << 20) + 1)
    unreadable = "'{}', which should hold the reports, is not a readable file of at most 64 MiB"

    def outcome(path: Path) -> tuple[int, str]:
        return start(language, json.dumps({"reports": str(path)}).encode())

    assert outcome(absent) == (5, f"there is no file '{absent}', which should hold the reports")
    assert outcome(tmp_path) == (3, unreadable.format(tmp_path))
    assert outcome(large) == (3, unreadable.format(large))


@pytest.mark.parametrize("reports", ["7", "null", "true", "[]", "{}", '["a"]', '"a\\u0000b"'])
def test_reports_that_are_no_name(language: str, reports: str) -> None:
    """A configuration of the wrong type is INVALID_ARGUMENT, also where no host has checked it before."""
    message = "`reports` is the name of a file, as text without NUL"

    assert start(language, b'{"reports": %s}' % reports.encode()) == (3, message)


@pytest.mark.parametrize("strict", ["1", "null", '"true"', "[]", "{}"])
def test_strict_is_true_or_false(language: str, strict: str) -> None:
    """Any other value is INVALID_ARGUMENT, also where no host has checked it before."""
    assert start(language, b'{"strict": %s}' % strict.encode()) == (3, "`strict` is not true or false")


@pytest.mark.parametrize("config", [b"[]", b'"reports"', b"null", b"7"])
def test_a_configuration_that_is_no_object(language: str, config: bytes) -> None:
    """A configuration that is not an object is INVALID_ARGUMENT."""
    assert start(language, config) == (3, "the configuration is no JSON object")


@pytest.mark.parametrize("config", [b"", b"{", b"{]", b"\xff"])
def test_a_configuration_that_is_not_json(language: str, config: bytes) -> None:
    """A configuration that is not JSON is INVALID_ARGUMENT."""
    assert start(language, config)[0] == 3


def test_calls_from_many_threads_do_not_disturb_each_other(server: backworks.Plugin) -> None:
    """Eight threads that ask one instance for all stations and decode reports get what one thread gets."""
    listed = ask(server, "GET", request())
    assert isinstance(listed, bytes)
    questions = [("GET", request(station=station)) for station in json.loads(listed)["stations"]]
    questions += [("POST", report) for report in [*REPORTS, *NO_REPORTS, *REFUSED]]
    alone = [ask(server, *question) for question in questions]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda question: ask(server, *question), questions * 8))

    assert together == alone * 8


def test_the_manifests_say_the_same() -> None:
    """The two plugins differ in nothing but their name."""
    with load("c") as c, load("rust") as rust:
        manifests = [dict(plugin.manifest or {}) for plugin in (c, rust)]
        descriptions = {plugin.description for plugin in (c, rust)}

    assert [manifest.pop("name") for manifest in manifests] == ["weather_c", "weather_rust"]
    assert manifests[0] == manifests[1]
    assert descriptions == {manifests[0]["description"]}
    assert manifests[0]["thread_safe"] is True
    assert manifests[0]["config_schema"]["additionalProperties"] is False


def run_comparison(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs the command for developers that compares files of reports."""
    script = Path(__file__).with_name("compare_reports.py")
    return subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, encoding="utf-8", check=False
    )


def test_a_good_day_is_compared(tmp_path: Path) -> None:
    """The comparison names how many reports both plugins decode like the service, and exits with 0."""
    day = tmp_path / "day.jsonl"
    day.write_text("\n".join(json.dumps(real) for real in REAL[:50]), encoding="utf-8")

    run = run_comparison(day)

    assert run.stderr == ""
    assert run.returncode == 0
    assert "the plugins return different bytes: 0 of 50\nrefused: 0 of 50\nunparsed: 0 of 50\n" in run.stdout


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ("KJFK 092351Z 10SM XYZZY", "unparsed: 1 of 1\n    XYZZY: KJFK 092351Z 10SM XYZZY"),
        ("KJFK XYZZY", "refused: 1 of 1\n    group 2 'XYZZY' at column 6"),
    ],
)
def test_a_bad_day_is_compared(tmp_path: Path, raw: str, line: str) -> None:
    """The comparison shows what is refused or not understood, and exits with 1."""
    day = tmp_path / "day.jsonl"
    day.write_text(json.dumps({"raw_text": raw, "visibility_statute_mi": 9.0}), encoding="utf-8")

    run = run_comparison(day)

    assert run.returncode == 1
    assert line in run.stdout
    assert ("visibility_statute_mi: differs: 1 of 1\n    10 | 9.0 | KJFK" in run.stdout) == ("10SM" in raw)


def test_a_comparison_needs_a_file(tmp_path: Path) -> None:
    """Without the file, the command says what it needs."""
    run = run_comparison(tmp_path / "day.jsonl")

    assert run.returncode == 2
    assert "is not a file; see `tests/data/metar/README.md` for what it contains" in run.stderr
