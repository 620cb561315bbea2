"""The host's codec under any bytes.

Invariant: what was encoded comes back as it was, however it is cut into pieces; any other bytes are frames that a
worker could have sent, or a FrameError; and no claim of a size costs more memory than the limit of its kind.
"""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backworks.ffi.contract import ContractViolation, Reply
from backworks.isolation.process import codec
from backworks.isolation.process.codec import FrameError, FrameReader
from backworks.settings import Limits

LIMITS = Limits(output=1 << 20)

#: Numbers that readers of sizes trip over.
EVIL = st.sampled_from([0, 1, 15, 16, 31, 32, 33, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF]) | st.integers(0, 2**32 - 1)

texts = st.none() | st.binary(max_size=100)


def frames_of(stream: bytes, cuts: list[int], limits: dict[int, int]) -> list[tuple[int, int, bytes]]:
    """Reads a stream that comes in pieces of the sizes given, the last of them again and again."""
    reader = FrameReader(limits)
    found = []
    left = memoryview(stream)
    at = 0
    while True:
        while (frame := reader.take()) is not None:
            found.append((frame.kind, frame.id, bytes(frame.payload)))
        if not left:
            return found
        room = reader.room()
        count = min(len(room), len(left), cuts[min(at, len(cuts) - 1)])
        assert count > 0
        room[:count] = left[:count]
        reader.filled(count)
        left = left[count:]
        at += 1


def reply_payload(reply: Reply) -> bytes:
    """Writes a reply as the worker does."""
    none = 0xFFFFFFFF

    def size(text: bytes | None) -> int:
        return none if text is None else len(text)

    data_size = 2**64 - 1 if reply.data is None else len(reply.data)
    fixed = struct.pack(
        "<iIIIQII", reply.code, reply.http_status, size(reply.content_type), size(reply.headers), data_size, 0, 0
    )
    return fixed + (reply.content_type or b"") + (reply.headers or b"") + (reply.data or b"")


replies = st.builds(
    Reply,
    code=st.integers(-(2**31), 2**31 - 1),
    data=st.none() | st.binary(max_size=3000),
    http_status=st.integers(0, 2**32 - 1),
    content_type=texts,
    headers=texts,
)


@given(
    payloads=st.lists(st.binary(max_size=300) | st.integers(60_000, 140_000).map(bytes), max_size=6),
    cuts=st.lists(st.integers(1, 70_000), min_size=1, max_size=50),
)
def test_frames_come_back(payloads: list[bytes], cuts: list[int]) -> None:
    """A stream of frames is read as those frames, however it is cut, with small and large ones mixed."""
    sent = [(codec.REPLY, 2**64 - 1 - number, payload) for number, payload in enumerate(payloads)]
    stream = b"".join(codec.encode(*frame) for frame in sent)

    assert frames_of(stream, cuts, codec.reply_limits(LIMITS)) == sent


@given(stream=st.binary(max_size=400), cuts=st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_any_bytes(stream: bytes, cuts: list[int]) -> None:
    """Any bytes are frames or an error, and the same whether they come at once or in pieces."""

    def outcome(pieces: list[int]) -> object:
        try:
            return frames_of(stream, pieces, codec.reply_limits(LIMITS))
        except FrameError as error:
            return str(error)

    assert outcome(cuts) == outcome([1000])


@given(size=EVIL, kind=st.integers(0, 255), zeros=st.sampled_from([b"\0\0\0", b"\0\0\1"]), rest=st.binary(max_size=40))
def test_header_claims(size: int, kind: int, zeros: bytes, rest: bytes) -> None:
    """A header that claims anything is refused, or waited for within the limit of its kind."""
    limits = codec.reply_limits(LIMITS)
    tracemalloc.start()
    try:
        found = frames_of(struct.pack("<IB3sQ", size, kind, zeros, 1) + rest, [100], limits)
    except FrameError:
        accepted = False
    else:
        accepted = True
        assert not found or len(found[0][2]) == size
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert not accepted or (kind in limits and size <= limits[kind] and zeros == b"\0\0\0")
    assert peak < max(limits.values()) + (1 << 20)


@given(reply=replies)
def test_replies_come_back(reply: Reply) -> None:
    """A reply is read as it was written, with everything that may be missing missing."""
    assert codec.decode_reply(reply_payload(reply), LIMITS.output) == reply


@given(
    codes=st.tuples(st.integers(-(2**31), 2**31 - 1), EVIL, EVIL, EVIL),
    data_size=st.integers(0, 2**64 - 1) | EVIL,
    broken=st.integers(0, 4) | EVIL,
    zero=st.sampled_from([0, 0, 0, 1]),
    rest=st.binary(max_size=100),
)
def test_reply_claims(codes: tuple[int, ...], data_size: int, broken: int, zero: int, rest: bytes) -> None:
    """A reply's sizes never reach beyond its payload, whatever they claim."""
    payload = struct.pack("<iIIIQII", *codes, data_size, broken, zero) + rest
    try:
        reply = codec.decode_reply(payload, LIMITS.output)
    except (FrameError, ContractViolation):
        return

    assert len(reply.data or b"") + len(reply.content_type or b"") + len(reply.headers or b"") == len(rest)


DECODERS: list[Callable[[bytes], object]] = [
    lambda payload: codec.decode_reply(payload, LIMITS.output),
    lambda payload: codec.decode_refused(payload, LIMITS.output),
    codec.decode_ready,
    codec.decode_log,
]


@pytest.mark.parametrize("decode", DECODERS, ids=["reply", "refused", "ready", "log"])
@given(payload=st.binary(max_size=200))
def test_any_payload(decode: Callable[[bytes], object], payload: bytes) -> None:
    """Any payload of any kind is that, or no frame, or a plugin's broken answer; nothing else is raised."""
    with contextlib.suppress(FrameError, ContractViolation):
        decode(payload)


@given(
    endpoint=st.text(max_size=50),
    method=st.binary(max_size=50),
    data=st.binary(max_size=500) | st.text(max_size=100),
    left=st.integers(0, 2**64 - 1),
    trace=st.none() | st.text(st.characters(max_codepoint=255), max_size=50),
)
def test_calls_are_whole(endpoint: str, method: bytes, data: bytes | str, left: int, trace: str | None) -> None:
    """A call that is encoded is one frame whose sizes are those of its parts, in order."""
    head, body = codec.encode_call(7, endpoint, method, data, left, trace, None)
    size, kind, number = struct.unpack_from("<IIQ", head)
    time_left, *sizes, data_size = struct.unpack_from("<QIIIIQ", head, 16)
    parts = [endpoint.encode(), method, (trace or "").encode("latin-1")]

    assert (kind, number, time_left) == (codec.CALL, 7, left)
    assert size == len(head) - 16 + len(body)
    assert sizes == [len(parts[0]), len(method), 0xFFFFFFFF if trace is None else len(parts[2]), 0xFFFFFFFF]
    assert head[48:] == b"".join(parts)
    assert (data_size, bytes(body)) == (len(body), data.encode() if isinstance(data, str) else data)
