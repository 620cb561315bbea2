"""Memory that ends where it says: the byte behind it belongs to nobody, and who reads it crashes. Not on Windows."""

from __future__ import annotations

import ctypes
import mmap
import sys
from typing import TYPE_CHECKING, Any

from backworks.authoring.conformance.results import Skipped
from backworks.ffi.ctypes_binding import BackworksRequest

if TYPE_CHECKING:
    from backworks.authoring.conformance.requests import Request

__all__ = ["Fence", "FencedRequest"]

_NONE, _READ = 0, 1


class Fence:
    """Bytes that lie at the very end of what may be read. They stay until the process ends.

    Args:
        data: The bytes.
    """

    _alive: list[Fence] = []  # noqa: RUF012  # who reads too late is found by the check that looks for it

    def __init__(self, data: bytes) -> None:
        if sys.platform == "win32":
            raise Skipped("pages without access are made with mprotect, which Windows does not have")
        page = mmap.PAGESIZE
        self._size = max(1, -(-len(data) // page)) * page
        self._map = mmap.mmap(-1, self._size + page)
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.address = self._base + self._size - len(data)
        self._map[self._size - len(data) : self._size] = data
        _protect(self._base + self._size, page, _NONE)
        self._alive.append(self)

    def forbid(self) -> None:
        """Lets nobody read it any longer."""
        _protect(self._base, self._size, _NONE)

    def forbid_writing(self) -> None:
        """Lets it only be read."""
        _protect(self._base, self._size, _READ)


class FencedRequest:
    """A ``backworks_request`` of which every part ends where nothing may be read any longer.

    Args:
        request: What it asks.
        size: Its struct_size, if it is not the whole.
    """

    def __init__(self, request: Request, size: int | None = None) -> None:
        self.texts = [Fence(text) for text in request]
        method, endpoint, data = self.texts
        full = ctypes.sizeof(BackworksRequest)
        raw = BackworksRequest(full if size is None else size)
        for name, fence, text in (
            ("method", method, request.method),
            ("endpoint", endpoint, request.endpoint),
            ("data", data, request.data),
        ):
            setattr(raw, name, fence.address)
            setattr(raw, f"{name}_size", len(text))
        self.structure = Fence(ctypes.string_at(ctypes.addressof(raw), full if size is None else size))


def _protect(address: int, size: int, mode: int) -> None:
    libc: Any = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), mode) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")
