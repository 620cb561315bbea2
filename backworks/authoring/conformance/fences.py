"""Memory followed by an inaccessible page, so that reading past its end crashes. Not on Windows."""

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
    """Bytes that end exactly where readable memory ends. They stay mapped until the process exits.

    Args:
        data: The bytes.
    """

    _alive: list[Fence] = []  # noqa: RUF012  # a read after the call must crash, not hit reused memory

    def __init__(self, data: bytes) -> None:
        if sys.platform == "win32":
            raise Skipped("inaccessible pages need mprotect, which Windows does not have")
        page = mmap.PAGESIZE
        self._size = max(1, -(-len(data) // page)) * page
        self._map = mmap.mmap(-1, self._size + page)
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.address = self._base + self._size - len(data)
        self._map[self._size - len(data) : self._size] = data
        _protect(self._base + self._size, page, _NONE)
        self._alive.append(self)

    def forbid(self) -> None:
        """Makes the bytes inaccessible."""
        _protect(self._base, self._size, _NONE)

    def forbid_writing(self) -> None:
        """Makes the bytes read-only."""
        _protect(self._base, self._size, _READ)


class FencedRequest:
    """A ``backworks_request`` whose every part is followed by an inaccessible page.

    Args:
        request: The content of the request.
        size: Its struct_size, if smaller than the full structure.
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
