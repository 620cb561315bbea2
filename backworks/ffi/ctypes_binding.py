"""The binding that needs only the standard library.

The structures are declared by hand; a test compares their layout with the header's.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import POINTER, c_char_p, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from functools import partial
from typing import Any

from backworks.ffi import logs
from backworks.ffi.contract import (
    ABI_VERSION,
    OPTIONAL_SYMBOLS,
    REQUIRED_SYMBOLS,
    LogFunction,
    Reply,
    init_result,
    take_reply,
)
from backworks.ffi.platform import OPEN_FLAGS

__all__ = ["BackworksHost", "BackworksRequest", "BackworksResponse", "create"]

_LOG = ctypes.CFUNCTYPE(None, c_void_p, c_uint32, c_void_p, c_size_t)
_GET_EXTENSION = ctypes.CFUNCTYPE(c_void_p, c_void_p, c_char_p)


class BackworksHost(ctypes.Structure):
    """``backworks_host``."""

    _fields_ = (
        ("struct_size", c_uint32),
        ("abi_version", c_uint32),
        ("context", c_void_p),
        ("log", _LOG),
        ("get_extension", _GET_EXTENSION),
    )


class BackworksRequest(ctypes.Structure):
    """``backworks_request``."""

    _fields_ = (
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("endpoint", c_char_p),
        ("endpoint_size", c_size_t),
        ("method", c_char_p),
        ("method_size", c_size_t),
        ("data", c_char_p),
        ("data_size", c_size_t),
        ("time_left_ns", c_uint64),
        ("traceparent", c_char_p),
        ("traceparent_size", c_size_t),
        ("tracestate", c_char_p),
        ("tracestate_size", c_size_t),
    )


class BackworksResponse(ctypes.Structure):
    """``backworks_response``; pointers are ``c_void_p``, because a ``c_char_p`` loses the address to free."""

    _fields_ = (
        ("struct_size", c_uint32),
        ("http_status", c_uint32),
        ("data", c_void_p),
        ("size", c_size_t),
        ("content_type", c_void_p),
        ("content_type_size", c_size_t),
        ("headers", c_void_p),
        ("headers_size", c_size_t),
    )


_REQUEST_SIZE = ctypes.sizeof(BackworksRequest)
_RESPONSE_SIZE = ctypes.sizeof(BackworksResponse)

#: name without its prefix -> (result, arguments)
_SIGNATURES = {
    "abi_version": (c_uint32, ()),
    "name": (c_char_p, ()),
    "version": (c_char_p, ()),
    "init": (
        c_int32,
        (POINTER(BackworksHost), c_char_p, c_size_t, POINTER(c_void_p), POINTER(BackworksResponse)),
    ),
    "process_endpoint_data": (c_int32, (c_void_p, POINTER(BackworksRequest), POINTER(BackworksResponse))),
    "free_string": (None, (c_void_p, c_size_t)),
    "shutdown": (c_int32, (c_void_p,)),
    "description": (c_char_p, ()),
    "health_check": (c_int32, (c_void_p, POINTER(BackworksResponse))),
    "reconfigure": (c_int32, (c_void_p, c_char_p, c_size_t, POINTER(BackworksResponse))),
}


@_LOG  # type: ignore[untyped-decorator]  # ctypes types are made at run time
def _log(context: int | None, level: int, text: int | None, size: int) -> None:
    if text:
        logs.deliver(context or 0, level, ctypes.string_at(text, min(size, logs.MAX_TEXT)))


@_GET_EXTENSION  # type: ignore[untyped-decorator]  # as above
def _get_extension(_context: int | None, _id: bytes | None) -> None:
    return None


class _Request:
    """A ``backworks_request`` that one call after the other fills: most calls differ only in their data."""

    __slots__ = ("_endpoint", "_method", "_special", "structure")

    def __init__(self) -> None:
        self.structure = BackworksRequest(_REQUEST_SIZE)
        self._endpoint: bytes | None = None
        self._method: bytes | None = None
        self._special = False  # whether it has a deadline or a trace context

    def fill(
        self,
        endpoint: bytes,
        method: bytes,
        data: bytes,
        time_left_ns: int,
        traceparent: bytes | None,
        tracestate: bytes | None,
    ) -> None:
        """Fills the structure, which keeps the bytes alive until it is filled again."""
        structure = self.structure
        if endpoint != self._endpoint:
            structure.endpoint = self._endpoint = endpoint
            structure.endpoint_size = len(endpoint)
        if method != self._method:
            structure.method = self._method = method
            structure.method_size = len(method)
        structure.data = data
        structure.data_size = len(data)
        special = bool(time_left_ns or traceparent is not None or tracestate is not None)
        if special or self._special:
            self._special = special
            structure.time_left_ns = time_left_ns
            structure.traceparent = traceparent
            structure.traceparent_size = len(traceparent or b"")
            structure.tracestate = tracestate
            structure.tracestate_size = len(tracestate or b"")


class _Instance:
    def __init__(self, library: _Library, pointer: c_void_p, host: BackworksHost) -> None:
        self._library = library
        self._pointer = pointer
        self._host = host  # kept alive, because the plugin holds its address
        self._requests: list[_Request] = []  # that no call uses now

    def process(
        self,
        endpoint: bytes,
        method: bytes,
        data: bytes,
        time_left_ns: int = 0,
        traceparent: bytes | None = None,
        tracestate: bytes | None = None,
    ) -> Reply:
        try:
            request = self._requests.pop()
        except IndexError:
            request = _Request()
        response = BackworksResponse(_RESPONSE_SIZE)
        request.fill(endpoint, method, data, time_left_ns, traceparent, tracestate)
        code = self._library.process(self._pointer, request.structure, response)
        self._requests.append(request)  # not after an exception: it may be half filled
        return take_reply(code, response, ctypes.string_at, self._library.free)

    def health_check(self) -> Reply:
        response = BackworksResponse(_RESPONSE_SIZE)
        code = self._library.function("health_check")(self._pointer, response)
        return self._library.reply(code, response)

    def reconfigure(self, config: bytes) -> Reply:
        response = BackworksResponse(_RESPONSE_SIZE)
        code = self._library.function("reconfigure")(self._pointer, config, len(config), response)
        return self._library.reply(code, response)

    def shutdown(self) -> int:
        code: int = self._library.function("shutdown")(self._pointer)
        logs.forget(self._host.context)
        return code


class _Library:
    def __init__(self, path: str) -> None:
        self.path = path
        if sys.platform == "win32":
            try:
                self._dll = ctypes.CDLL(path, winmode=OPEN_FLAGS)
            except OSError as error:
                if error.winerror and error.filename is None:  # ctypes then omits the file name
                    error.filename = path
                raise
        else:
            self._dll = ctypes.CDLL(path, mode=OPEN_FLAGS)
        self._functions = {
            name: function
            for name in _SIGNATURES
            if (function := getattr(self._dll, f"backworks_plugin_{name}", None)) is not None
        }
        for name, function in self._functions.items():
            function.restype, function.argtypes = _SIGNATURES[name]
        self.process = self._functions.get("process_endpoint_data", _missing)
        self.free = self._functions.get("free_string", _missing)

    def function(self, name: str) -> Any:
        return self._functions[name]

    def reply(self, code: int, response: BackworksResponse) -> Reply:
        return take_reply(code, response, ctypes.string_at, self.free)

    def symbols(self) -> frozenset[str]:
        return frozenset(
            symbol
            for symbol in (*REQUIRED_SYMBOLS, *OPTIONAL_SYMBOLS)
            if symbol.removeprefix("backworks_plugin_") in self._functions
        )

    def abi_version(self) -> int:
        return int(self._functions["abi_version"]())

    def name(self) -> bytes | None:
        return self._text("name")

    def version(self) -> bytes | None:
        return self._text("version")

    def description(self) -> bytes | None:
        return self._text("description")

    def _text(self, name: str) -> bytes | None:
        text: bytes | None = self._functions[name]()
        return text

    def init(self, config: bytes, log: LogFunction) -> tuple[Reply, _Instance | None]:
        number = logs.register(log)
        host = BackworksHost(ctypes.sizeof(BackworksHost), ABI_VERSION, number, _log, _get_extension)
        pointer = c_void_p()
        response = BackworksResponse(_RESPONSE_SIZE)
        code = self._functions["init"](host, config, len(config), pointer, response)
        instance = _Instance(self, pointer, host) if code == 0 and pointer.value is not None else None
        if instance is None:
            logs.forget(number)
        return init_result(partial(self.reply, code, response), instance)


class _Binding:
    name = "ctypes"
    compiled = None

    def open(self, path: str) -> _Library:
        return _Library(path)


def _missing(*_arguments: object) -> int:
    raise LookupError("the library lacks a required symbol")


def create() -> _Binding:
    """Returns the binding."""
    return _Binding()
