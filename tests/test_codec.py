"""Frames of workers.

The invariant: whatever the bytes, in whatever pieces they come, the reader gives the frames that they hold or one
``FrameError``, and never keeps more than a frame that was announced and is allowed.
"""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backworks.ffi.contract import MAX_FIELD, ContractViolation, Reply
from backworks.isolation.process import codec
from backworks.isolation.process.codec import FrameError, FrameReader, Ready, Refused
from backworks.settings import Limits

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
