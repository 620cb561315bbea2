"""The plugin as checks see it: its raw functions, with host structures that the check controls.

Unlike with the bindings of :mod:`backworks.ffi`, a check can keep an answer, choose a size, or make calls in any order.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from backworks.authoring.conformance.requests import PLAIN, Request, quoted
from backworks.authoring.conformance.results import Failed
from backworks.errors import Code
from backworks.ffi.contract import OPTIONAL_SYMBOLS, REQUIRED_SYMBOLS, ContractViolation, take_reply
from backworks.ffi.ctypes_binding import BackworksHost, BackworksRequest, BackworksResponse
from backworks.ffi.platform import OPEN_FLAGS
from backworks.loading.inspection import inspect_library

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from backworks.authoring.conformance.journal import Journal
    from backworks.loading.inspection import LibraryInfo

__all__ = ["Answer", "Host", "Instance", "Record", "Started", "Subject", "code_name"]

_PREFIX = "backworks_plugin_"
_POINTER, _SIZE, _I32 = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int32
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "abi_version": (ctypes.c_uint32, ()),
    "name": (_POINTER, ()),
    "version": (_POINTER, ()),
    "description": (_POINTER, ()),
    "init": (_I32, (_POINTER, _POINTER, _SIZE, _POINTER, _POINTER)),
    "process_endpoint_data": (_I32, (_POINTER, _POINTER, _POINTER)),
    "free_string": (None, (_POINTER, _SIZE)),
    "shutdown": (_I32, (_POINTER,)),
    "health_check": (_I32, (_POINTER, _POINTER)),
    "reconfigure": (_I32, (_POINTER, _POINTER, _SIZE, _POINTER)),
}

_LOG, _GET_EXTENSION = (kind for _, kind in BackworksHost._fields_[3:5])

#: How many log records of one host are kept; a plugin may log more.
_MOST_RECORDS = 200
_MOST_TEXT = 1 << 16
_SLACK = 64


def code_name(code: int) -> str:
    """Returns the name of a code that a function returned."""
    try:
        return Code(code).name
    except ValueError:
        return f"{code}, which is not a code of the ABI"


class Answer(NamedTuple):
    """The result of a function that fills a ``backworks_response``, after its memory was freed.

    ``broken`` says which rule about pointers and sizes the response breaks; then only ``code`` is set.
    """

    code: int
    data: bytes | None
    http_status: int = 0
    content_type: bytes | None = None
    headers: bytes | None = None
    broken: str | None = None

    def __str__(self) -> str:
        if self.broken is not None:
            return f"{code_name(self.code)}, but {self.broken}"
        return f"{code_name(self.code)} with {'a NULL answer' if self.data is None else quoted(self.data)}"


class Record(NamedTuple):
    """One call of ``backworks_host.log``."""

    level: int
    text: bytes | None
    size: int
    context: int
    late: bool


def room_for_response() -> BackworksResponse:
    """Returns a response with spare memory after it, so that only the check for writes past the end fails on them."""
    size = ctypes.sizeof(BackworksResponse)
    response = BackworksResponse.from_buffer(ctypes.create_string_buffer(size + _SLACK))
    response.struct_size = size
    return response


class Host:
    """A ``backworks_host`` that records the calls to it.

    Args:
        extra: The number of garbage bytes appended to the structure of this ABI version.
    """

    _alive: list[Host] = []  # noqa: RUF012  # a plugin may call it until the process exits
    _numbers = iter(range(0x5EED0001, 0x6EED0000))

    def __init__(self, extra: int = 0) -> None:
        self.records: list[Record] = []
        self.lookups: list[bytes | None] = []
        self.ended = False
        self.context = next(self._numbers)
        self._log = _LOG(self._on_log)
        self._get_extension = _GET_EXTENSION(self._on_lookup)
        size = ctypes.sizeof(BackworksHost)
        self._buffer = ctypes.create_string_buffer(b"\0" * size + b"\xa5" * extra, size + extra)
        self.address = ctypes.addressof(self._buffer)
        host = BackworksHost.from_buffer(self._buffer)
        host.struct_size, host.abi_version, host.context = size + extra, 1, self.context
        host.log, host.get_extension = self._log, self._get_extension
        self._alive.append(self)

    def _on_log(self, context: int | None, level: int, text: int | None, size: int) -> None:
        if len(self.records) < _MOST_RECORDS:
            copy = ctypes.string_at(text, min(size, _MOST_TEXT)) if text else None
            self.records.append(Record(level, copy, size, context or 0, self.ended))

    def _on_lookup(self, _context: int | None, name: bytes | None) -> None:
        if len(self.lookups) < _MOST_RECORDS:
            self.lookups.append(name)


@dataclass
class Started:
    """The outcome of a call to ``init``."""

    code: int
    pointer: int
    answer: Answer
    host: Host
    config: bytes

    def __str__(self) -> str:
        out = f"{self.pointer:#x}" if self.pointer else "NULL"
        return f"init(config {quoted(self.config)}) returned {self.answer} and *out {out}"


@dataclass
class Instance:
    """An initialised plugin."""

    subject: Subject
    pointer: int
    host: Host

    def call(self, request: Request, time_left_ns: int = 0) -> Answer:
        """Calls the plugin, and frees the answer."""
        code, response = self.keep(request, time_left_ns)
        return self.subject.take(code, response)

    def keep(self, request: Request, time_left_ns: int = 0) -> tuple[int, BackworksResponse]:
        """Calls the plugin, and keeps the answer; the caller must pass it to :meth:`Subject.take`."""
        method, endpoint, data = request
        raw = BackworksRequest(
            ctypes.sizeof(BackworksRequest),
            0,
            endpoint,
            len(endpoint),
            method,
            len(method),
            data,
            len(data),
            time_left_ns,
        )
        self.subject.journal.write(str(request))
        return self.ask(ctypes.addressof(raw))

    def ask(self, request: int) -> tuple[int, BackworksResponse]:
        """Calls the plugin with the ``backworks_request`` at an address."""
        response = room_for_response()
        code: int = self.subject.function("process_endpoint_data")(self.pointer, request, ctypes.addressof(response))
        return code, response

    def health_check(self) -> Answer:
        """Calls ``health_check``."""
        response = room_for_response()
        self.subject.journal.write("health_check()")
        code = self.subject.function("health_check")(self.pointer, ctypes.addressof(response))
        return self.subject.take(code, response)

    def reconfigure(self, config: bytes) -> Answer:
        """Calls ``reconfigure``."""
        response = room_for_response()
        self.subject.journal.write(f"reconfigure(config {quoted(config)})")
        code = self.subject.function("reconfigure")(self.pointer, config, len(config), ctypes.addressof(response))
        return self.subject.take(code, response)

    def shutdown(self) -> int:
        """Calls ``shutdown``."""
        self.subject.journal.write("shutdown()")
        code: int = self.subject.function("shutdown")(self.pointer)
        self.host.ended = True
        return code


class Subject:
    """The plugin under test; its library is opened on the first use of a function.

    Args:
        path: The library.
        config: The configuration for ``init``, as JSON.
        requests: The requests that the plugin answers, as given by its author.
        seed: The seed of all random data.
        effort: The fraction of repetitions to run: 1.0, or less on a slow processor.
        journal: Records each call before it is made.
        case: The only request to try, for a check that tries many.
    """

    def __init__(
        self,
        path: Path,
        config: bytes,
        requests: tuple[Request, ...],
        seed: int,
        effort: float,
        journal: Journal,
        case: Request | None = None,
    ) -> None:
        self.path = path
        self.config = config
        self.own_requests = requests
        self.requests = (*requests, *PLAIN)
        self.seed = seed
        self.effort = effort
        self.journal = journal
        self.case = case

    @cached_property
    def info(self) -> LibraryInfo:
        """The content of its file."""
        return inspect_library(self.path)

    @property
    def stdout(self) -> Path:
        """The file that receives this process's stdout."""
        return self.path.with_name("stdout")

    @property
    def manifest(self) -> dict[str, Any]:
        """The plugin's manifest, or an empty one."""
        return self.info.manifest or {}

    def open(self, copy: Path | None = None) -> Any:
        """Opens the library, or a copy of it. Raises ``OSError`` with the dynamic linker's message."""
        self.journal.write("opening the library")
        path = str(copy or self.path)
        if sys.platform == "win32":
            return ctypes.CDLL(path, winmode=OPEN_FLAGS)
        return ctypes.CDLL(path, mode=OPEN_FLAGS)

    @cached_property
    def _functions(self) -> dict[str, Any]:
        last = self.journal.last
        library = self.open()
        self.journal.write(last)
        found = {}
        for symbol in (*REQUIRED_SYMBOLS, *OPTIONAL_SYMBOLS):
            function = getattr(library, symbol, None)
            if function is not None:
                name = symbol.removeprefix(_PREFIX)
                function.restype, function.argtypes = _SIGNATURES[name]
                found[name] = function
        return found

    def function(self, name: str) -> Any:
        """Returns an exported function by its name without the prefix."""
        return self._functions[name]

    def has(self, name: str) -> bool:
        """Returns whether the library exports a function."""
        return name in self._functions

    def text(self, name: str) -> tuple[int, bytes | None]:
        """Calls a function that returns text; returns the address and the text."""
        self.journal.write(f"{name}()")
        address: int | None = self.function(name)()
        return address or 0, ctypes.string_at(address) if address else None

    def take(self, code: int, response: BackworksResponse) -> Answer:
        """Copies an answer and frees its memory."""
        try:
            return Answer(*take_reply(code, response, ctypes.string_at, self.free))
        except ContractViolation as violation:
            return Answer(code, None, broken=str(violation))

    def free(self, data: int | None, size: int) -> None:
        """Calls ``free_string``."""
        self.function("free_string")(data, size)

    def init(self, config: bytes | None = None, host: Host | None = None) -> Started:
        """Calls ``init``, by default with the subject's configuration."""
        text = self.config if config is None else config
        self.journal.write(f"init(config {quoted(text)})")
        # bytes end with a NUL, so that the address of an empty text is valid too
        return self.init_at(ctypes.c_char_p(text), len(text), host or Host(), text)

    def init_at(self, address: Any, size: int, host: Host, text: bytes) -> Started:
        """Calls ``init`` with a configuration at an address."""
        pointer, error = ctypes.c_void_p(), room_for_response()
        code = self.function("init")(host.address, address, size, ctypes.addressof(pointer), ctypes.addressof(error))
        answer = self.take(code, error)
        if code != 0:
            host.ended = True
        return Started(code, pointer.value or 0, answer, host, text)

    def start(self, host: Host | None = None) -> Instance:
        """Creates an instance with the subject's configuration.

        Raises:
            Failed: The plugin does not start.
        """
        started = self.init(host=host)
        if started.code != 0 or not started.pointer:
            raise Failed(str(started), "OK and an instance, with the given configuration")
        return Instance(self, started.pointer, started.host)

    def end(self, started: Started) -> None:
        """Shuts down the instance, if there is one."""
        if started.code == 0 and started.pointer:
            Instance(self, started.pointer, started.host).shutdown()

    def steady(self, instance: Instance) -> dict[Request, Answer]:
        """Returns the requests that always get the same answer, and these answers."""
        first = [(request, instance.call(request)) for request in self.requests]
        return {
            request: answer
            for request, answer in first
            if all(instance.call(request) == answer for _ in range(2)) and answer.broken is None
        }

    def bad_configs(self) -> Iterator[bytes]:
        """Yields invalid configurations: not JSON, or not an object."""
        yield from (
            b"",
            b"{",
            b"}",
            b"nonsense",
            b"[]",
            b"null",
            b"17",
            b'"text"',
            b'{"a":}',
            b'{"a" 1}',
            b'{"a": "\xff\xfe"}',
            b"\0\0\0",
            b'{"a": "',
            b"{} {}",
            b'\xef\xbb\xbf{"a": "b"',
        )

    def wrong_configs(self) -> Iterator[bytes]:
        """Yields objects with members of types that the plugin does not expect."""
        config = json.loads(self.config)
        schema = self.manifest.get("config_schema", {})
        properties = schema.get("properties", {}) if isinstance(schema, dict) else {}
        names = [*dict.fromkeys((*properties, *config))][:20]
        values: tuple[object, ...] = (
            None,
            True,
            -1,
            1e300,
            18446744073709551616,
            "",
            "a\0b",
            "€" * 100,
            [],
            [[]],
            {},
            {"a": {}},
        )
        for name in (*names, "no such member", ""):
            for value in values:
                yield json.dumps({**config, name: value}).encode()

    def deadline(self, seconds: float) -> Iterator[int]:
        """Yields 0, 1, 2 and so on until the time is over, which less effort shortens."""
        end = time.monotonic() + seconds * self.effort
        number = 0
        while number == 0 or time.monotonic() < end:
            yield number
            number += 1
