"""The binding that uses cffi; it reads its declarations from the C header, so that they always match."""

from __future__ import annotations

from functools import partial
from typing import Any

from cffi import FFI

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
from backworks.ffi.header import declarations
from backworks.ffi.platform import OPEN_FLAGS

__all__ = ["create", "ffi"]

#: Untyped, because its declarations come from the header at run time.
ffi: Any = FFI()
ffi.cdef(declarations())

_REQUEST_SIZE = ffi.sizeof("backworks_request")
_RESPONSE_SIZE = ffi.sizeof("backworks_response")
_new_request = ffi.typeof("backworks_request *")
_new_response = ffi.typeof("backworks_response *")


@ffi.callback("void(void *, uint32_t, const char *, size_t)")  # type: ignore[untyped-decorator]  # cffi types are made at run time
def _log(context: Any, level: int, text: Any, size: int) -> None:
    if text:
        number = int(ffi.cast("uintptr_t", context))
        logs.deliver(number, level, _copy(text, min(size, logs.MAX_TEXT)))


@ffi.callback("const void *(void *, const char *)")  # type: ignore[untyped-decorator]  # as above
def _get_extension(_context: Any, _id: Any) -> Any:
    return ffi.NULL


def _copy(pointer: Any, size: int) -> bytes:
    return bytes(ffi.buffer(pointer, size))


class _Request:
    """A ``backworks_request`` that one call after the other fills: most calls differ only in their data."""

    __slots__ = ("_endpoint", "_method", "_special", "structure")

    def __init__(self) -> None:
        self.structure = ffi.new(_new_request)
        self.structure.struct_size = _REQUEST_SIZE
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
        """Fills the structure; from_buffer borrows the bytes, which the caller keeps alive during the call."""
        structure = self.structure
        if endpoint != self._endpoint:
            self._endpoint = endpoint
            structure.endpoint = ffi.from_buffer(endpoint)
            structure.endpoint_size = len(endpoint)
        if method != self._method:
            self._method = method
            structure.method = ffi.from_buffer(method)
            structure.method_size = len(method)
        structure.data = ffi.from_buffer(data)
        structure.data_size = len(data)
        special = bool(time_left_ns or traceparent is not None or tracestate is not None)
        if special or self._special:
            self._special = special
            structure.time_left_ns = time_left_ns
            structure.traceparent = ffi.NULL if traceparent is None else ffi.from_buffer(traceparent)
            structure.traceparent_size = len(traceparent or b"")
            structure.tracestate = ffi.NULL if tracestate is None else ffi.from_buffer(tracestate)
            structure.tracestate_size = len(tracestate or b"")


class _Instance:
    def __init__(self, library: _Library, pointer: Any, host: Any) -> None:
        self._library = library
        self._pointer = pointer
        self._host = host  # kept alive, because the plugin holds its address
        self._process = library.lib.backworks_plugin_process_endpoint_data
        self._free = library.lib.backworks_plugin_free_string
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
        response = ffi.new(_new_response)
        response.struct_size = _RESPONSE_SIZE
        request.fill(endpoint, method, data, time_left_ns, traceparent, tracestate)
        code = self._process(self._pointer, request.structure, response)
        self._requests.append(request)  # not after an exception: it may be half filled
        return take_reply(code, response, _copy, self._free)

    def health_check(self) -> Reply:
        response = self._library.response()
        code = self._library.lib.backworks_plugin_health_check(self._pointer, response)
        return self._library.reply(code, response)

    def reconfigure(self, config: bytes) -> Reply:
        response = self._library.response()
        code = self._library.lib.backworks_plugin_reconfigure(
            self._pointer, ffi.from_buffer(config), len(config), response
        )
        return self._library.reply(code, response)

    def shutdown(self) -> int:
        code = int(self._library.lib.backworks_plugin_shutdown(self._pointer))
        logs.forget(int(ffi.cast("uintptr_t", self._host.context)))
        return code


class _Library:
    def __init__(self, path: str) -> None:
        self.path = path
        self.lib = ffi.dlopen(path, OPEN_FLAGS)

    def response(self) -> Any:
        response = ffi.new(_new_response)
        response.struct_size = _RESPONSE_SIZE
        return response

    def reply(self, code: int, response: Any) -> Reply:
        return take_reply(code, response, _copy, self.lib.backworks_plugin_free_string)

    def symbols(self) -> frozenset[str]:
        return frozenset(name for name in (*REQUIRED_SYMBOLS, *OPTIONAL_SYMBOLS) if hasattr(self.lib, name))

    def abi_version(self) -> int:
        return int(self.lib.backworks_plugin_abi_version())

    def name(self) -> bytes | None:
        return self._text(self.lib.backworks_plugin_name())

    def version(self) -> bytes | None:
        return self._text(self.lib.backworks_plugin_version())

    def description(self) -> bytes | None:
        return self._text(self.lib.backworks_plugin_description())

    @staticmethod
    def _text(pointer: Any) -> bytes | None:
        return bytes(ffi.string(pointer)) if pointer else None

    def init(self, config: bytes, log: LogFunction) -> tuple[Reply, _Instance | None]:
        number = logs.register(log)
        host = ffi.new(
            "backworks_host *",
            {
                "struct_size": ffi.sizeof("backworks_host"),
                "abi_version": ABI_VERSION,
                "context": ffi.cast("void *", number),
                "log": _log,
                "get_extension": _get_extension,
            },
        )
        pointer = ffi.new("backworks_plugin **")
        response = self.response()
        code = self.lib.backworks_plugin_init(host, ffi.from_buffer(config), len(config), pointer, response)
        instance = _Instance(self, pointer[0], host) if code == 0 and pointer[0] else None
        if instance is None:
            logs.forget(number)
        return init_result(partial(self.reply, code, response), instance)


class _Binding:
    name = "cffi"
    compiled = None

    def open(self, path: str) -> _Library:
        return _Library(path)


def create() -> _Binding:
    """Returns the binding."""
    return _Binding()
