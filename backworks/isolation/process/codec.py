"""Encodes and decodes the frames of ``native/wire/PROTOCOL.md``. This module performs no I/O.

Data from a worker is not trusted, because a plugin may have overwritten any byte of it. For all bytes in all pieces,
:class:`FrameReader` and the ``decode_`` functions either return what a worker can send or raise :exc:`FrameError`, and
never keep more than one frame of an announced and permitted size.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple, overload

from backworks.ffi.contract import MAX_ANSWER, MAX_FIELD, ContractViolation, Reply
from backworks.ffi.logs import MAX_TEXT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Buffer

    from backworks.settings import Limits

__all__ = [
    "CALL",
    "HEADER",
    "HEALTH",
    "LOG",
    "LOG_LIMITS",
    "MAX_PAYLOAD",
    "READY",
    "RECONFIGURE",
    "REFUSED",
    "REPLY",
    "SHUTDOWN",
    "START",
    "Frame",
    "FrameError",
    "FrameReader",
    "Gone",
    "Late",
    "Ready",
    "Refused",
    "checked",
    "decode_log",
    "decode_ready",
    "decode_refused",
    "decode_reply",
    "encode",
    "encode_call",
    "encode_start",
    "reply_limits",
    "reply_of",
]

PROTOCOL = 1

# Frames from the host.
START = 1
CALL = 2
HEALTH = 3
RECONFIGURE = 4
SHUTDOWN = 5
# Frames from the worker.
READY = 129
REPLY = 130
REFUSED = 131
LOG = 192

#: The largest payload: data of 1 GiB, and room for the other fields.
MAX_PAYLOAD = (1 << 30) + (1 << 20)

_NO_TEXT = 0xFFFFFFFF
_NO_DATA = 0xFFFFFFFFFFFFFFFF

HEADER = Struct("<IB3sQ")
_CALL = Struct("<QIIIIQ")
_START = Struct("<IIQQQQQII")
_READY = Struct("<IIIIIII")
_REFUSED = Struct("<III")
_REPLY = Struct("<iIIIQII")
_LOG = Struct("<I")

_BROKEN = {1: "data", 2: "content_type", 3: "headers"}

#: The size of a :class:`FrameReader`'s buffer; a larger frame gets its own.
_SMALL = 1 << 16


class FrameError(Exception):
    """The bytes are not a valid frame here. The message is a noun phrase that completes "the worker sent"."""


class Gone(Exception):
    """The other end has closed without sending a complete frame."""


class Late(Exception):
    """The timeout expired before the reply; the request is still open."""


class Frame(NamedTuple):
    """One frame. Its payload is valid until more bytes are read."""

    kind: int
    id: int
    payload: memoryview


class Ready(NamedTuple):
    """A worker's description of the plugin that it has initialised."""

    abi: int
    has_description: bool
    has_health_check: bool
    has_reconfigure: bool
    pid: int
    name: bytes | None
    version: bytes | None
    description: bytes | None


class Refused(NamedTuple):
    """Why a worker did not initialise a plugin; ``reply`` is the result of its init, if that is the reason."""

    stage: int
    detail: int
    text: str
    reply: Reply | None


class FrameReader:
    """Assembles frames from pieces.

    Args:
        largest: The permitted kinds of frames, each with the maximum size of its payload.
    """

    def __init__(self, largest: Mapping[int, int]) -> None:
        self._largest = largest
        self._small = memoryview(b"")  # allocated with the first data, because most workers never log
        self._begin = 0  # of the data in small that has not been taken
        self._end = 0
        self._large: memoryview | None = None  # the payload of a frame that does not fit into small
        self._filled = 0
        self._head = (0, 0)

    @property
    def is_empty(self) -> bool:
        """Whether all data has been taken."""
        return self._large is None and self._begin == self._end

    def room(self) -> memoryview:
        """Returns the buffer for the next bytes, which is never empty after :meth:`take` has returned ``None``."""
        if self._large is not None:
            return self._large[self._filled :]
        if self._begin:
            waiting = bytes(self._small[self._begin : self._end])
            self._begin, self._end = 0, len(waiting)
            self._small[: self._end] = waiting
        if not self._small:
            self._small = memoryview(bytearray(_SMALL))
        return self._small[self._end :]

    def close(self) -> None:
        """Releases its memory, including data that was not taken."""
        self._small, self._large = memoryview(b""), None
        self._begin = self._end = 0

    def filled(self, count: int) -> None:
        """Records how many bytes were written to :meth:`room`."""
        if self._large is not None:
            self._filled += count
        else:
            self._end += count

    def take(self) -> Frame | None:
        """Returns the next frame, or ``None`` if it needs more bytes.

        Raises:
            FrameError: The data is not the start of a valid frame.
        """
        if self._large is not None:
            if self._filled < len(self._large):
                return None
            payload, self._large = self._large, None
            return Frame(*self._head, payload)
        there = self._end - self._begin
        if there < HEADER.size:
            return None
        size, kind, zeros, number = HEADER.unpack_from(self._small, self._begin)
        self._check(size, kind, zeros)
        begin = self._begin + HEADER.size
        if there >= HEADER.size + size:
            self._begin = begin + size
            return Frame(kind, number, self._small[begin : self._begin])
        if HEADER.size + size > _SMALL:
            self._large = memoryview(bytearray(size))
            self._head = kind, number
            self._filled = self._end - begin
            self._large[: self._filled] = self._small[begin : self._end]
            self._begin = self._end = 0
        return None

    def _check(self, size: int, kind: int, zeros: bytes) -> None:
        limit = self._largest.get(kind)
        if limit is None:
            raise FrameError(f"a frame of kind {kind}, which cannot come here")
        if size > limit:
            raise FrameError(f"a frame of kind {kind} that claims {size} bytes; at most {limit} are taken")
        if zeros != b"\0\0\0":
            raise FrameError(f"a frame of kind {kind} with {zeros.hex(' ')} where zeros belong")


def reply_limits(limits: Limits) -> dict[int, int]:
    """Returns the kinds of replies with their largest payloads, for a :class:`FrameReader`."""
    reply = _REPLY.size + 2 * MAX_FIELD + limits.output
    return {
        READY: _READY.size + 3 * MAX_FIELD,
        REPLY: reply,
        REFUSED: _REFUSED.size + max(MAX_TEXT, reply),
    }


def encode(kind: int, number: int, payload: bytes = b"") -> bytes:
    """Returns a frame.

    Raises:
        ValueError: The payload is too large.
    """
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"{len(payload)} bytes are more than a worker takes: {MAX_PAYLOAD}")
    return HEADER.pack(len(payload), kind, b"", number) + payload


def encode_start(path: bytes, config: bytes, limits: Limits) -> bytes:
    """Returns the payload of a START frame."""
    fixed = _START.pack(
        PROTOCOL,
        0,
        limits.memory or 0,
        limits.cpu_time or 0,
        limits.open_files or 0,
        limits.processes or 0,
        min(limits.output, MAX_ANSWER),
        len(path),
        len(config),
    )
    return b"".join((fixed, path, config))


def encode_call(
    number: int,
    endpoint: str | bytes,
    method: str | bytes,
    data: str | Buffer,
    time_left_ns: int,
    traceparent: str | bytes | None,
    tracestate: str | bytes | None,
) -> tuple[bytes, bytes | memoryview]:
    """Returns a CALL frame in two pieces: everything except the data, and the data.

    Raises:
        ValueError: An argument is too large or cannot be encoded.
    """
    texts = (_bytes(endpoint), _bytes(method), _bytes(traceparent, "latin-1"), _bytes(tracestate, "latin-1"))
    body: bytes | memoryview
    if isinstance(data, bytes):
        body = data
    elif isinstance(data, str):
        body = data.encode()
    else:
        view = memoryview(data)
        body = view.cast("B") if view.nbytes else b""  # an empty view cannot be cast
    sizes = [0 if text is None else len(text) for text in texts]
    if max(sizes) > MAX_FIELD:
        raise ValueError(
            f"an endpoint, method or trace context of {max(sizes)} bytes is more than a worker takes: {MAX_FIELD}"
        )
    if len(body) > MAX_ANSWER:
        raise ValueError(f"{len(body)} bytes of data are more than a worker takes: {MAX_ANSWER}")
    fixed = _CALL.pack(time_left_ns, *(_NO_TEXT if text is None else len(text) for text in texts), len(body))
    header = HEADER.pack(_CALL.size + sum(sizes) + len(body), CALL, b"", number)
    return b"".join((header, fixed, *(text or b"" for text in texts))), body


@overload
def _bytes(value: str | bytes, encoding: str = ...) -> bytes: ...
@overload
def _bytes(value: str | bytes | None, encoding: str = ...) -> bytes | None: ...
def _bytes(value: str | Buffer | None, encoding: str = "utf-8") -> bytes | None:
    if isinstance(value, str):
        return value.encode(encoding)
    return value if value is None or isinstance(value, bytes) else bytes(memoryview(value))


def decode_reply(payload: bytes | memoryview, max_output: int) -> Reply:
    """Decodes the payload of a REPLY frame.

    Args:
        payload: The payload.
        max_output: The maximum size of the data.

    Raises:
        FrameError: The payload is not valid.
        ContractViolation: The plugin's response violates the ABI.
    """
    if len(payload) < _REPLY.size:
        raise FrameError(f"a reply of {len(payload)} bytes; it has at least {_REPLY.size}")
    code, status, type_size, headers_size, data_size, broken, zero = _REPLY.unpack_from(payload)
    if zero:
        raise FrameError(f"a reply with {zero:#x} where zero belongs")
    if broken:
        sizes = (data_size, type_size, headers_size)
        raise _violation(len(payload), broken, sizes, (max_output, MAX_FIELD, MAX_FIELD))
    at = _REPLY.size
    if type_size == headers_size == _NO_TEXT:
        content_type = headers = None
    else:
        content_type, at = _text(payload, at, type_size, "content type")
        headers, at = _text(payload, at, headers_size, "headers")
    if data_size == _NO_DATA:
        data = None
    else:
        if data_size > max_output:
            raise FrameError(f"a reply with {data_size} bytes of data; at most {max_output} are taken")
        data = bytes(payload[at : at + data_size])
        at += data_size
    if at != len(payload):
        raise FrameError(f"a reply of {len(payload)} bytes whose sizes say {at}")
    return Reply(code, data, status, content_type, headers)


def _violation(size: int, broken: int, sizes: tuple[int, ...], limits: tuple[int, ...]) -> Exception:
    if size != _REPLY.size or broken not in _BROKEN:
        return FrameError(f"a reply of {size} bytes that calls its field {broken} broken")
    claimed, limit = sizes[broken - 1], limits[broken - 1]
    if claimed > limit:
        return ContractViolation(f"the answer's {_BROKEN[broken]} claims {claimed} bytes; at most {limit} are taken")
    return ContractViolation(f"the answer's {_BROKEN[broken]} is NULL with a size of {claimed}")


def checked(frame: Frame, number: int) -> Frame:
    """Returns the frame after checking that it has the number of the request.

    Raises:
        FrameError: The frame has another number.
    """
    if frame.id != number:
        raise FrameError(f"a reply to request {frame.id} where {number} was sent")
    return frame


def reply_of(frame: Frame, max_output: int) -> Reply:
    """Decodes a REPLY frame.

    Raises:
        FrameError: The frame is of another kind, or its payload is not valid.
        ContractViolation: The plugin's response violates the ABI.
    """
    if frame.kind != REPLY:
        raise FrameError(f"a frame of kind {frame.kind} where a reply was expected")
    return decode_reply(frame.payload, max_output)


def decode_ready(payload: bytes | memoryview) -> Ready:
    """Decodes the payload of a READY frame.

    Raises:
        FrameError: The payload is not valid.
    """
    if len(payload) < _READY.size:
        raise FrameError(f"a greeting of {len(payload)} bytes; it has at least {_READY.size}")
    protocol, abi, optional, pid, *sizes = _READY.unpack_from(payload)
    if protocol != PROTOCOL or optional > 7:
        raise FrameError(f"a greeting in version {protocol} of the protocol with optional symbols {optional:#x}")
    at = _READY.size
    texts = []
    for name, size in zip(("name", "version", "description"), sizes, strict=True):
        text, at = _text(payload, at, size, name)
        texts.append(text)
    if at != len(payload):
        raise FrameError(f"a greeting of {len(payload)} bytes whose sizes say {at}")
    return Ready(abi, bool(optional & 1), bool(optional & 2), bool(optional & 4), pid, *texts)


#: The stage of a REFUSED frame whose text is the payload of a REPLY frame.
_INIT = 6


def decode_refused(payload: bytes | memoryview, max_output: int) -> Refused:
    """Decodes the payload of a REFUSED frame.

    Raises:
        FrameError: The payload is not valid.
        ContractViolation: The error response of the plugin's init violates the ABI.
    """
    if len(payload) < _REFUSED.size:
        raise FrameError(f"a refusal of {len(payload)} bytes; it has at least {_REFUSED.size}")
    stage, detail, size = _REFUSED.unpack_from(payload)
    rest = payload[_REFUSED.size :]
    if size != len(rest) or not 1 <= stage <= _INIT:
        raise FrameError(f"a refusal in stage {stage} with {len(rest)} bytes, which says {size}")
    if stage == _INIT:
        return Refused(stage, detail, "", decode_reply(rest, max_output))
    if size > MAX_TEXT:
        raise FrameError(f"a refusal with {size} bytes of text; at most {MAX_TEXT} are taken")
    return Refused(stage, detail, bytes(rest).decode("utf-8", "replace"), None)


def decode_log(payload: bytes | memoryview) -> tuple[int, str]:
    """Decodes the level and text of a LOG frame; bytes that are not UTF-8 are replaced.

    Raises:
        FrameError: The payload is not valid.
    """
    if len(payload) < _LOG.size:
        raise FrameError(f"a log record of {len(payload)} bytes; it has at least {_LOG.size}")
    return _LOG.unpack_from(payload)[0], bytes(payload[_LOG.size :]).decode("utf-8", "replace")


#: The limits of a :class:`FrameReader` for the pipe of log records.
LOG_LIMITS = {LOG: _LOG.size + MAX_TEXT}


def _text(payload: bytes | memoryview, at: int, size: int, what: str) -> tuple[bytes | None, int]:
    if size == _NO_TEXT:
        return None, at
    if size > MAX_FIELD or at + size > len(payload):
        raise FrameError(f"a {what} of {size} bytes in {len(payload)}; at most {MAX_FIELD} are taken")
    return bytes(payload[at : at + size]), at + size
