"""The ways to call the plugin's C code from Python, each written as its users would write it."""

from __future__ import annotations

import ctypes
import functools
import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import byref, c_size_t, c_void_p, memmove, string_at
from pathlib import Path
from typing import Any

from backworks.ffi import binding_named
from backworks.loading.loader import DynamicPluginLoader
from backworks.loading.prepared import prepare
from backworks.plugin import Plugin
from backworks.settings import Isolation, Settings
from backworks.starting import start
from benchmarks import PEERS

__all__ = [
    "MISSING",
    "Floor",
    "by_ctypes",
    "cffi_lean",
    "cffi_peer",
    "ctypes_lean",
    "extism_peer",
    "library",
    "optional",
    "ours",
    "peer",
    "wasmtime_peer",
]

HERE = Path(__file__).resolve().parent

#: The unavailable peers, and why.
MISSING: dict[str, str] = {}


@contextmanager
def optional(name: str) -> Iterator[None]:
    """Records a peer as missing if the block, which prepares it, fails."""
    try:
        yield
    except (ImportError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        reason = str(error).strip().splitlines()
        MISSING[name] = f"{type(error).__name__}: {reason[0] if reason else 'no reason given'}"
        print(f"bench: {name} is missing: {error}", file=sys.stderr, flush=True)


def library(name: str) -> Path:
    """Returns the library that peers/CMakeLists.txt builds under a name."""
    return PEERS / f"lib{name}{'.dylib' if sys.platform == 'darwin' else '.so'}"


def peer(name: str) -> Any:
    """Returns the compiled module with a name."""
    if str(PEERS) not in sys.path:
        sys.path.append(str(PEERS))
    return importlib.import_module(name)


def ours(plugin: str, binding: str = "native", *, isolation: Isolation = "none", workers: int = 4) -> Plugin:
    """Starts one of the plugins with Backworks, without a timeout and a breaker, which the peers do not have."""
    settings = Settings(isolation=isolation, workers=workers, timeout=None, breaker=None)
    return start(prepare(library(plugin)), settings, loader=DynamicPluginLoader(binding_named(binding)))


def _plain_functions(plugin: str, kind: type[ctypes.CDLL] = ctypes.CDLL) -> tuple[Any, Any]:
    """Returns the plain functions ``answer`` and ``free`` of a plugin's library, declared for ctypes."""
    loaded = kind(str(library(plugin)))
    answer, free = loaded.plain_answer, loaded.plain_free
    answer.argtypes, answer.restype = (ctypes.c_char_p, c_size_t, c_void_p), c_void_p
    free.argtypes, free.restype = (c_void_p,), None
    return answer, free


def by_ctypes(plugin: str) -> tuple[Callable[[str], str], Callable[[bytes], bytes]]:
    """Returns a function for text and one for bytes, written by hand with ctypes."""
    answer, free = _plain_functions(plugin)

    def text(data: str) -> str:
        raw = data.encode()
        size = c_size_t()
        pointer = answer(raw, len(raw), byref(size))
        try:
            return string_at(pointer, size.value).decode()
        finally:
            free(pointer)

    def data_(data: bytes) -> bytes:
        size = c_size_t()
        pointer = answer(data, len(data), byref(size))
        try:
            return string_at(pointer, size.value)
        finally:
            free(pointer)

    return text, data_


def ctypes_lean(plugin: str) -> tuple[Callable[[str], str], Callable[[bytes], bytes]]:
    """The minimum with ctypes: a shared size variable, no cleanup after an error, and the lock held."""
    answer, free = _plain_functions(plugin, ctypes.PyDLL)
    size = c_size_t()
    at = byref(size)

    def text(data: str) -> str:
        raw = data.encode()
        pointer = answer(raw, len(raw), at)
        found = string_at(pointer, size.value)
        free(pointer)
        return found.decode()

    def data_(data: bytes) -> bytes:
        pointer = answer(data, len(data), at)
        found = string_at(pointer, size.value)
        free(pointer)
        return found

    return text, data_


def cffi_peer(function: str = "plain_answer") -> tuple[Callable[[str], str], Callable[[bytes], bytes]]:
    """Returns the same functions with cffi's API mode."""
    module = peer("cffi_module")
    new, unpack, answer, free = module.ffi.new, module.ffi.unpack, getattr(module.lib, function), module.lib.plain_free

    def text(data: str) -> str:
        raw = data.encode()
        size = new("size_t *")
        pointer = answer(raw, len(raw), size)
        try:
            found: bytes = unpack(pointer, size[0])
            return found.decode()
        finally:
            free(pointer)

    def data_(data: bytes) -> bytes:
        size = new("size_t *")
        pointer = answer(data, len(data), size)
        try:
            found: bytes = unpack(pointer, size[0])
            return found
        finally:
            free(pointer)

    return text, data_


def cffi_lean() -> tuple[Callable[[str], str], Callable[[bytes], bytes]]:
    """The minimum with cffi's API mode: a shared size variable, and no cleanup after an error."""
    module = peer("cffi_module")
    unpack, answer, free = module.ffi.unpack, module.lib.plain_answer, module.lib.plain_free
    size = module.ffi.new("size_t *")

    def text(data: str) -> str:
        raw = data.encode()
        pointer = answer(raw, len(raw), size)
        found: bytes = unpack(pointer, size[0])
        free(pointer)
        return found.decode()

    def data_(data: bytes) -> bytes:
        pointer = answer(data, len(data), size)
        found: bytes = unpack(pointer, size[0])
        free(pointer)
        return found

    return text, data_


@functools.cache
def _wasm(name: str) -> bytes:
    from wasmtime import wat2wasm

    return bytes(wat2wasm((HERE / "peers" / f"{name}.wat").read_text()))


def extism_peer() -> Callable[[bytes], bytes]:
    """Returns a function that echoes bytes through an Extism plug-in."""
    import extism

    plugin = extism.Plugin(_wasm("extism_echo"))

    def data_(data: bytes) -> bytes:
        found: bytes = plugin.call("echo", data)
        return found

    return data_


def wasmtime_peer() -> Callable[[bytes], bytes]:
    """Returns a function that echoes bytes through a WebAssembly module in wasmtime."""
    from wasmtime import Func, Instance, Memory, Module, Store

    store = Store()
    exports = Instance(store, Module(store.engine, _wasm("wasmtime_echo")), []).exports(store)
    room, echo, memory = exports["room"], exports["echo"], exports["memory"]
    assert isinstance(room, Func)
    assert isinstance(echo, Func)
    assert isinstance(memory, Memory)

    # Kept between calls, as performance-minded users do: the lookup costs more than the copy.
    capacity = where = start = 0

    def data_(data: bytes) -> bytes:
        nonlocal capacity, where, start
        size = len(data)
        if size > capacity:
            where, capacity = room(store, size), size
            start = ctypes.addressof(memory.data_ptr(store).contents)  # the memory may have moved
        memmove(start + where, data, size)
        return string_at(start + echo(store, where, size), size)

    return data_


class Floor:
    """The cost of C alone, and of copying alone. The loops are in peers/floor.c."""

    def __init__(self) -> None:
        self._loops = ctypes.CDLL(str(library("floor")))
        for name in ("floor_call", "floor_copy", "floor_copy_fresh"):
            getattr(self._loops, name).restype = ctypes.c_uint64
        self._plugin = ctypes.CDLL(str(library("echo")))
        self._instance = c_void_p()
        self._plugin.backworks_plugin_init(None, b"{}", c_size_t(2), byref(self._instance), None)

    def call(self, data: bytes) -> Callable[[int], float]:
        """Returns a loop over the plugin's function and its free_string, called by pointer."""
        process = ctypes.cast(self._plugin.backworks_plugin_process_endpoint_data, c_void_p)
        free = ctypes.cast(self._plugin.backworks_plugin_free_string, c_void_p)
        return self._timed("floor_call", process, free, self._instance, data, c_size_t(len(data)))

    def copy(self, data: bytes, *, fresh: bool) -> Callable[[int], float]:
        """Returns a loop over one memcpy each way, into reused or fresh buffers."""
        return self._timed("floor_copy_fresh" if fresh else "floor_copy", data, c_size_t(len(data)))

    def _timed(self, name: str, *arguments: Any) -> Callable[[int], float]:
        loop = getattr(self._loops, name)
        return lambda count: loop(*arguments, ctypes.c_uint64(count)) / 1e9
