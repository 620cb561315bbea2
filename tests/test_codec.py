"""Frames of workers.

The invariant: whatever the bytes, in whatever pieces they come, the reader gives the frames that they hold or one
``FrameError``, and never keeps more than a frame that was announced and is allowed.
"""

from __future__ import annotations

import array
import re
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backworks.ffi.contract import MAX_ANSWER, MAX_FIELD, ContractViolation, Reply
from backworks.ffi.logs import MAX_TEXT
from backworks.isolation.process import codec
from backworks.isolation.process.codec import FrameError, FrameReader, Ready, Refused
from backworks.settings import Limits

WIRE = Path(__file__).resolve().parent.parent / "native" / "wire"

#: Kinds and sizes of the frames that the tests read.
LARGEST = {codec.REPLY: 200_000, codec.LOG: 100}

frames = st.lists(
    st.tuples(
        st.sampled_from(sorted(LARGEST)),
        st.integers(0, 2**64 - 1),
        st.binary(max_size=100) | st.sampled_from([b"", b"x" * 65_519, b"y" * 65_520, b"z" * 65_521, b"w" * 150_000]),
    ).filter(lambda frame: len(frame[2]) <= LARGEST[frame[0]]),
    max_size=6,
)
fields = st.none() | st.binary(max_size=50) | st.just(b"h" * MAX_FIELD)


def read(reader: FrameReader, data: bytes, pieces: list[int]) -> list[tuple[int, int, bytes]]:
    """Reads bytes in pieces of these sizes, again and again, and checks what the reader keeps."""
    found = []
    view = memoryview(data)
    turn = 0
    while view:
        size = pieces[turn % len(pieces)]
        turn += 1
        room = reader.room()
        assert len(room) > 0
        count = min(size, len(room), len(view))
        room[:count] = view[:count]
        view = view[count:]
        reader.filled(count)
        while (frame := reader.take()) is not None:
            found.append((frame.kind, frame.id, bytes(frame.payload)))
        kept = len(reader._small) + (len(reader._large) if reader._large is not None else 0)
        assert kept <= 65_536 + max(LARGEST.values())
    return found


class TestFrameReader:
    """Bytes become frames."""

    @given(frames, st.lists(st.integers(1, 100_000), min_size=1, max_size=5), st.booleans())
    def test_round_trip(self, sent: list[tuple[int, int, bytes]], pieces: list[int], cut: bool) -> None:
        """Frames come out as they went in, however they were cut; what is not whole is not given."""
        data = b"".join(codec.encode(*frame) for frame in sent)
        reader = FrameReader(LARGEST)

        if cut and data:
            assert read(reader, data[:-1], pieces) == sent[:-1]
            assert not reader.is_empty or len(data) == 1
        else:
            assert read(reader, data, pieces) == sent
            assert reader.is_empty

    @given(st.lists(st.binary(max_size=40) | frames.map(lambda found: b"".join(codec.encode(*f) for f in found))))
    def test_any_bytes(self, parts: list[bytes]) -> None:
        """Any bytes are frames, the beginning of one, or a FrameError, and the same in pieces of any size."""
        data = b"".join(parts)
        outcomes = []
        for pieces in ([1 << 20], [7]):
            try:
                outcomes.append(read(FrameReader(LARGEST), data, pieces))
            except FrameError:
                outcomes.append([])
        if len(data) < 1000:
            try:
                outcomes.append(read(FrameReader(LARGEST), data, [1]))
            except FrameError:
                outcomes.append([])

        assert all(outcome == outcomes[0] for outcome in outcomes)

    @pytest.mark.parametrize(
        ("header", "message"),
        [
            ((0, 7, b"", 1), "kind 7, which cannot come here"),
            ((200_001, codec.REPLY, b"", 1), "claims 200001 bytes; at most 200000 are taken"),
            ((0xFFFFFFFF, codec.REPLY, b"", 1), "claims 4294967295 bytes"),
            ((0, codec.REPLY, b"\0\1\0", 1), "00 01 00 where zeros belong"),
        ],
    )
    def test_bad_header(self, header: tuple[Any, ...], message: str) -> None:
        """A header that cannot be is refused before any memory is taken for it."""
        with pytest.raises(FrameError, match=message):
            read(FrameReader(LARGEST), codec.HEADER.pack(*header), [16])


class TestReply:
    """REPLY."""

    @given(st.integers(-(2**31), 2**31 - 1), fields, st.integers(0, 2**32 - 1), fields, fields)
    def test_round_trip(
        self, code: int, data: bytes | None, status: int, content_type: bytes | None, headers: bytes | None
    ) -> None:
        """What a worker writes comes out."""
        payload = reply(code, data, status, content_type, headers)

        assert codec.decode_reply(payload, MAX_FIELD) == Reply(code, data, status, content_type, headers)
        assert codec.decode_reply(memoryview(payload), MAX_FIELD) == Reply(code, data, status, content_type, headers)
        for broken in (payload[:-1], payload + b"x"):
            with pytest.raises(FrameError):
                codec.decode_reply(broken, MAX_FIELD)

    @pytest.mark.parametrize(
        ("broken", "sizes", "message"),
        [
            (1, (5, 0, 0), "the answer's data is NULL with a size of 5"),
            (1, (101, 0, 0), "the answer's data claims 101 bytes; at most 100 are taken"),
            (2, (0, 7, 0), "the answer's content_type is NULL with a size of 7"),
            (3, (0, 0, 70000), "the answer's headers claims 70000 bytes; at most 65536 are taken"),
        ],
    )
    def test_violations(self, broken: int, sizes: tuple[int, int, int], message: str) -> None:
        """A broken answer is a violation of the contract, in the words of the bindings."""
        data, content_type, headers = sizes
        payload = struct.pack("<iIIIQII", 0, 0, content_type, headers, data, broken, 0)
        with pytest.raises(ContractViolation, match=message):
            codec.decode_reply(payload, 100)

        with pytest.raises(FrameError):
            codec.decode_reply(payload + b"x", 100)

    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            struct.pack("<iIIIQII", 0, 0, 0xFFFFFFFF, 0xFFFFFFFF, 101, 0, 0) + b"x" * 101,
            struct.pack("<iIIIQII", 0, 0, 70000, 0xFFFFFFFF, 0, 0, 0) + b"x" * 70000,
            struct.pack("<iIIIQII", 0, 0, 0xFFFFFFFF, 0xFFFFFFFF, 0, 0, 1),
            struct.pack("<iIIIQII", 0, 0, 0xFFFFFFFF, 0xFFFFFFFF, 0, 4, 0),
        ],
    )
    def test_not_one(self, payload: bytes) -> None:
        """What no worker writes is refused."""
        with pytest.raises(FrameError):
            codec.decode_reply(payload, 100)

    @given(st.binary(max_size=200))
    @example(b"\0" * 32)
    def test_any_bytes(self, payload: bytes) -> None:
        """Any payload is a value or one of the two errors, in every kind of frame."""
        for decode in (
            lambda: codec.decode_reply(payload, 100),
            lambda: codec.decode_ready(payload),
            lambda: codec.decode_refused(payload, 100),
            lambda: codec.decode_log(payload),
        ):
            try:
                decode()
            except (FrameError, ContractViolation):
                continue


def reply(code: int, data: bytes | None, status: int, content_type: bytes | None, headers: bytes | None) -> bytes:
    """Writes the payload of a REPLY as a worker does."""
    none = 0xFFFFFFFF
    fixed = struct.pack(
        "<iIIIQII",
        code,
        status,
        none if content_type is None else len(content_type),
        none if headers is None else len(headers),
        0xFFFFFFFFFFFFFFFF if data is None else len(data),
        0,
        0,
    )
    return b"".join((fixed, content_type or b"", headers or b"", data or b""))


class TestStart:
    """START, READY and REFUSED."""

    def test_start(self) -> None:
        """START has every limit in its place."""
        payload = codec.encode_start(b"/lib", b"{}", Limits(memory=1, cpu_time=2, open_files=3, processes=4, output=5))

        assert payload == struct.pack("<IIQQQQQII", 1, 0, 1, 2, 3, 4, 5, 4, 2) + b"/lib{}"

    @given(fields, fields, fields, st.integers(0, 7))
    def test_ready(self, name: bytes | None, version: bytes | None, description: bytes | None, bits: int) -> None:
        """READY brings who the plugin is."""
        texts = (name, version, description)
        sizes = [0xFFFFFFFF if text is None else len(text) for text in texts]
        payload = struct.pack("<IIIIIII", 1, 9, bits, 77, *sizes) + b"".join(text or b"" for text in texts)

        assert codec.decode_ready(payload) == Ready(9, bits & 1 > 0, bits & 2 > 0, bits & 4 > 0, 77, *texts)
        with pytest.raises(FrameError):
            codec.decode_ready(payload + b"x")

    def test_refused(self) -> None:
        """REFUSED brings the reason, and of init what it answered."""
        inner = reply(9, b"no", 0, None, None)

        assert codec.decode_refused(struct.pack("<III", 3, 0, 4) + b"text", 100) == Refused(3, 0, "text", None)
        found = codec.decode_refused(struct.pack("<III", 6, 9, len(inner)) + inner, 100)
        assert found == Refused(6, 9, "", Reply(9, b"no", 0, None, None))
        for payload in (b"", struct.pack("<III", 7, 0, 0), struct.pack("<III", 3, 0, 5) + b"text"):
            with pytest.raises(FrameError):
                codec.decode_refused(payload, 100)

    def test_log(self) -> None:
        """LOG brings level and text; what is not UTF-8 is replaced."""
        assert codec.decode_log(struct.pack("<I", 30) + b"a\xff") == (30, "a\ufffd")


class TestCall:
    """CALL."""

    def test_layout(self) -> None:
        """Everything is in its place; text and bytes are the same."""
        sizes = struct.pack("<QIIIIQ", 5, 2, 3, 0xFFFFFFFF, 1, 4)
        frame = struct.pack("<IBxxxQ", len(sizes) + 6, codec.CALL, 7) + sizes + b"/xGETs"
        frame = frame[:0] + struct.pack("<IBxxxQ", len(sizes) + 10, codec.CALL, 7) + frame[16:]

        assert codec.encode_call(7, "/x", "GET", "data", 5, None, "s") == (frame, b"data")
        assert codec.encode_call(7, b"/x", b"GET", memoryview(b"data"), 5, None, b"s") == (frame, b"data")

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            (("/" * 65_537, "GET", "", 0, None, None), ValueError),
            (("/x", "GET", "", 0, "t" * 65_537, None), ValueError),
            (("/x", "GET", "", 0, "\u20ac", None), ValueError),
            (("/x", "GET", "\ud800", 0, None, None), ValueError),
            (("/x", "GET", 3, 0, None, None), TypeError),
        ],
    )
    def test_refused(self, arguments: tuple[Any, ...], error: type[Exception]) -> None:
        """What a worker would not take is not sent."""
        with pytest.raises(error):
            codec.encode_call(1, *arguments)


@pytest.fixture(scope="module", name="in_c")
def _in_c(cc: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """The numbers of protocol.h, as the compiler has them."""
    source = (WIRE / "protocol.h").read_text(encoding="utf-8")
    names = re.findall(r"#define (\w+) +\S", source) + re.findall(r"\b([A-Z_]+) = \d", source)
    directory = tmp_path_factory.mktemp("numbers")
    lines = [f'  printf("{name} %llu\\n", (unsigned long long){name});' for name in names]
    program = ["#include <stdio.h>", '#include "protocol.h"', "int main(void) {", *lines, "  return 0;", "}"]
    (directory / "numbers.c").write_text("\n".join(program), encoding="utf-8")
    built = directory / "numbers"
    subprocess.run([*cc, "-std=c11", f"-I{WIRE}", str(directory / "numbers.c"), "-o", str(built)], check=True)
    printed = subprocess.run([built], check=True, capture_output=True, text=True).stdout
    return {name: int(number) for name, number in (line.split() for line in printed.splitlines())}


class TestNumbers:
    """PROTOCOL.md, protocol.h and codec.py agree."""

    PAGE = (WIRE / "PROTOCOL.md").read_text(encoding="utf-8")

    def section(self, number: int) -> str:
        """The text of one section of the page."""
        found = re.search(rf"^## {number}\. .*?(?=^## |\Z)", self.PAGE, re.MULTILINE | re.DOTALL)
        assert found is not None
        return found[0]

    def test_kinds(self, in_c: dict[str, int]) -> None:
        """Each kind of frame has one number everywhere."""
        page = {
            name: int(kind) for kind, name in re.findall(r"^\| (\d+) \| ([A-Z]+) \|", self.section(2), re.MULTILINE)
        }

        assert page == {name[5:]: number for name, number in in_c.items() if name.startswith("KIND_")}
        assert page == {name: getattr(codec, name) for name in page}

    def test_sizes(self, in_c: dict[str, int]) -> None:
        """The fixed part of each frame is as long everywhere."""
        tables = dict(zip(("START", "READY", "REFUSED"), self.section(4).split("| offset |")[1:], strict=True))
        tables |= {"HEADER": self.section(2), "CALL": self.section(5), "REPLY": self.section(6)}
        page = {}
        for name, table in tables.items():
            rows = re.findall(r"^\| (\d+) \| (\d*) ?\|", table.split("| kind | name")[0], re.MULTILINE)
            page[f"{name}_SIZE"] = max(int(offset) + int(size or 0) for offset, size in rows)

        assert page == {name: number for name, number in in_c.items() if name in page}
        layouts = {"HEADER_SIZE": codec.HEADER}
        layouts |= {name: getattr(codec, f"_{name.removesuffix('_SIZE')}") for name in page if name != "HEADER_SIZE"}
        assert page == {name: layout.size for name, layout in layouts.items()}

    def test_limits(self, in_c: dict[str, int]) -> None:
        """The limits, and what stands for a text or data that is missing, are the same everywhere."""
        rows = re.findall(r"^\| ([^|]+) \| [^|]*?([\d,]{6,})", self.section(3), re.MULTILINE)
        page = {what.split()[0].strip(","): int(number.replace(",", "")) for what, number in rows}
        page["data"] = int(re.findall(r"^\| data .*\(([\d,]+)\)", self.section(3), re.MULTILINE)[0].replace(",", ""))
        page["payload"] = int(
            re.findall(r"^\| payload .*\(([\d,]+)\)", self.section(3), re.MULTILINE)[0].replace(",", "")
        )

        assert page == {
            "payload": in_c["MAX_PAYLOAD"],
            "data": in_c["MAX_DATA"],
            "endpoint": in_c["MAX_TEXT"],
            "path": in_c["MAX_PATH_SIZE"],
            "name": in_c["MAX_TEXT"],
            "text": in_c["MAX_TEXT"],
        }
        assert (in_c["MAX_PAYLOAD"], in_c["MAX_DATA"]) == (codec.MAX_PAYLOAD, MAX_ANSWER)
        assert {MAX_FIELD, MAX_TEXT} == {in_c["MAX_TEXT"]}
        assert (in_c["ABSENT_TEXT"], in_c["ABSENT_DATA"]) == (codec._NO_TEXT, codec._NO_DATA)
        for number in (in_c["ABSENT_TEXT"], in_c["ABSENT_DATA"]):
            assert f"{number:#X}".replace("X", "x") in self.section(6)

    def test_versions_and_ends(self, in_c: dict[str, int]) -> None:
        """The version, the stages of a refusal, the fields that may be broken, and the exit codes are the same."""
        version = re.findall(r"version of the protocol: (\d+)", self.section(4))
        stages = re.findall(r"^\| (\d) \| \w+", self.section(4).split("| stage | failed")[1], re.MULTILINE)
        broken = re.search(r"invalid field: (\d) data, (\d) content type, (\d) headers", self.section(6))
        ends = re.findall(r"^\| (\d) \| ", self.section(8), re.MULTILINE)

        assert {int(found) for found in version} == {in_c["PROTOCOL_VERSION"], codec.PROTOCOL}
        assert [int(stage) for stage in stages] == [
            number for name, number in in_c.items() if name.startswith("STAGE_")
        ]
        assert in_c["STAGE_INIT"] == codec._INIT
        assert broken is not None
        fields = [in_c["BROKEN_DATA"], in_c["BROKEN_CONTENT_TYPE"], in_c["BROKEN_HEADERS"]]
        assert [int(field) for field in broken.groups()] == fields == list(codec._BROKEN)
        assert [int(end) for end in ends] == [number for name, number in in_c.items() if name.startswith("END_")]


@pytest.mark.parametrize("kind", ["b", "H", "I", "d"])
def test_call_of_buffers(kind: str) -> None:
    """Any buffer counts by its bytes, not by its items."""
    numbers = array.array(kind, [47, 97, 98])
    fields: Any = [numbers, memoryview(numbers), bytearray(numbers.tobytes()), numbers.tobytes()]
    frames = {b"".join(codec.encode_call(1, each, each, each, 0, each, each)) for each in fields}

    assert len(frames) == 1
    assert b"".join(codec.encode_call(1, "/", "GET", array.array(kind), 0, None, None)) == b"".join(
        codec.encode_call(1, "/", "GET", b"", 0, None, None)
    )
