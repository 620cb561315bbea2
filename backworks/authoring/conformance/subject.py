"""The plugin as a check sees it: its functions raw, with the host structures under the check's control.

Nothing is hidden that the bindings of :mod:`backworks.ffi` hide: a check may keep an answer, choose a size, or
call in an order of its own.
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

#: Records of one host that are kept; a plugin may log more.
_MOST_RECORDS = 200
_MOST_TEXT = 1 << 16
_SLACK = 64


def code_name(code: int) -> str:
    """Returns a returned code for people."""
    try:
        return Code(code).name
    except ValueError:
        return f"{code}, which is no code of the ABI"


class Answer(NamedTuple):
    """What came back from a function that fills a ``backworks_response``; its memory was handed back.

    ``broken`` says which rule about pointers and sizes the response breaks; the rest is then empty but for the code.
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
    """Makes a response with room behind it, so that who writes too far is found by the check that looks for it."""
    size = ctypes.sizeof(BackworksResponse)
    response = BackworksResponse.from_buffer(ctypes.create_string_buffer(size + _SLACK))
    response.struct_size = size
    return response


class Host:
    """A ``backworks_host`` that keeps what it is told.

    Args:
        extra: Bytes by which it is larger than this version of the ABI; they are garbage.
    """

    _alive: list[Host] = []  # noqa: RUF012  # a plugin may call until the process ends
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
    """What a call of ``init`` gave."""

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
        """Asks the plugin, and hands its memory back."""
        code, response = self.keep(request, time_left_ns)
        return self.subject.take(code, response)

    def keep(self, request: Request, time_left_ns: int = 0) -> tuple[int, BackworksResponse]:
        """Asks the plugin, and leaves the answer with the caller, who gives it to :meth:`Subject.take`."""
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
        """Asks the plugin with a ``backworks_request`` at an address."""
        response = room_for_response()
        code: int = self.subject.function("process_endpoint_data")(self.pointer, request, ctypes.addressof(response))
        return code, response

    def health_check(self) -> Answer:
        """Asks how it is."""
        response = room_for_response()
        self.subject.journal.write("health_check()")
        code = self.subject.function("health_check")(self.pointer, ctypes.addressof(response))
        return self.subject.take(code, response)

    def reconfigure(self, config: bytes) -> Answer:
        """Gives it another configuration."""
        response = room_for_response()
        self.subject.journal.write(f"reconfigure(config {quoted(config)})")
        code = self.subject.function("reconfigure")(self.pointer, config, len(config), ctypes.addressof(response))
        return self.subject.take(code, response)

    def shutdown(self) -> int:
        """Ends it."""
        self.subject.journal.write("shutdown()")
        code: int = self.subject.function("shutdown")(self.pointer)
        self.host.ended = True
        return code


class Subject:
    """The plugin under test; opened when the first of its functions is asked for.

    Args:
        path: The library.
        config: The configuration that it starts with, as JSON.
        requests: What it answers, as its author says.
        seed: Where all that is random begins.
        effort: 1.0, or a part of it where the processor is slow: how often things are repeated.
        journal: Where is written what is about to be called.
        case: The one request that is to be tried, where a check tries many.
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
        """What its file says."""
        return inspect_library(self.path)

    @property
    def stdout(self) -> Path:
        """The file that this process has for its standard output."""
        return self.path.with_name("stdout")

    @property
    def manifest(self) -> dict[str, Any]:
        """Its manifest, or an empty one."""
        return self.info.manifest or {}

    def open(self, copy: Path | None = None) -> Any:
        """Opens the library, or a copy of it. Raises ``OSError`` with the dynamic linker's words."""
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
        """Tells whether the library exports a function."""
        return name in self._functions

    def text(self, name: str) -> tuple[int, bytes | None]:
        """Calls a function that returns text; returns the address and the text."""
        self.journal.write(f"{name}()")
        address: int | None = self.function(name)()
        return address or 0, ctypes.string_at(address) if address else None

    def take(self, code: int, response: BackworksResponse) -> Answer:
        """Copies an answer and hands its memory back."""
        try:
            return Answer(*take_reply(code, response, ctypes.string_at, self.free))
        except ContractViolation as violation:
            return Answer(code, None, broken=str(violation))

    def free(self, data: int | None, size: int) -> None:
        """Hands memory back."""
        self.function("free_string")(data, size)

    def init(self, config: bytes | None = None, host: Host | None = None) -> Started:
        """Calls ``init``, with the subject's own configuration if there is no other."""
        text = self.config if config is None else config
        self.journal.write(f"init(config {quoted(text)})")
        # bytes end with a NUL, so that the address of an empty text is good as well
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
        """Makes an instance with the subject's own configuration.

        Raises:
            Failed: It does not start.
        """
        started = self.init(host=host)
        if started.code != 0 or not started.pointer:
            raise Failed(str(started), "OK and an instance, with the configuration that it was given")
        return Instance(self, started.pointer, started.host)

    def end(self, started: Started) -> None:
        """Shuts an instance down if there is one."""
        if started.code == 0 and started.pointer:
            Instance(self, started.pointer, started.host).shutdown()

    def steady(self, instance: Instance) -> dict[Request, Answer]:
        """Returns the requests that are answered in the same way each time, and their answers."""
        first = [(request, instance.call(request)) for request in self.requests]
        return {
            request: answer
            for request, answer in first
            if all(instance.call(request) == answer for _ in range(2)) and answer.broken is None
        }

    def bad_configs(self) -> Iterator[bytes]:
        """Yields texts that are no configuration: no JSON, or no object."""
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
        """Yields objects whose members are of other types than the plugin expects."""
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
        """Counts for as long as that, at most, and with less effort for less."""
        end = time.monotonic() + seconds * self.effort
        number = 0
        while number == 0 or time.monotonic() < end:
            yield number
            number += 1
