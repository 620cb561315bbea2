"""Windows job objects: all processes in a job end together, at the latest with the process that created the job."""

from __future__ import annotations

import ctypes
import threading
from typing import Any

__all__ = ["Job"]

_KILLED = 1
_EXTENDED_LIMIT_INFORMATION = 9
_KILL_ON_JOB_CLOSE = 0x2000


class _BasicLimits(ctypes.Structure):
    _fields_ = (
        ("PerProcessUserTimeLimit", ctypes.c_int64),
        ("PerJobUserTimeLimit", ctypes.c_int64),
        ("LimitFlags", ctypes.c_uint32),
        ("MinimumWorkingSetSize", ctypes.c_size_t),
        ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", ctypes.c_uint32),
        ("Affinity", ctypes.c_size_t),
        ("PriorityClass", ctypes.c_uint32),
        ("SchedulingClass", ctypes.c_uint32),
    )


class _ExtendedLimits(ctypes.Structure):
    _fields_ = (
        ("BasicLimitInformation", _BasicLimits),
        ("IoInfo", ctypes.c_uint64 * 6),
        ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t),
        ("PeakProcessMemoryUsed", ctypes.c_size_t),
        ("PeakJobMemoryUsed", ctypes.c_size_t),
    )


class Job:
    """A job object with one process and all its descendants. Thread-safe.

    Args:
        process: The handle of the process.

    Raises:
        OSError: The system cannot create the job or add the process.
    """

    def __init__(self, process: int) -> None:
        self._lock = threading.Lock()
        self._kernel = _kernel()
        self._handle = self._kernel.CreateJobObjectW(None, None)
        limits = _ExtendedLimits()
        limits.BasicLimitInformation.LimitFlags = _KILL_ON_JOB_CLOSE
        if (
            not self._handle
            or not self._kernel.SetInformationJobObject(
                self._handle, _EXTENDED_LIMIT_INFORMATION, ctypes.byref(limits), ctypes.sizeof(limits)
            )
            or not self._kernel.AssignProcessToJobObject(self._handle, process)
        ):
            error = OSError(f"cannot put the worker into a job object (error {ctypes.get_last_error()})")  # type: ignore[attr-defined, unused-ignore]
            self.close()
            raise error

    def end(self) -> None:
        """Ends all processes in the job."""
        with self._lock:
            if self._handle:
                self._kernel.TerminateJobObject(self._handle, _KILLED)

    def close(self) -> None:
        """Closes the job, which also ends its processes. Idempotent."""
        with self._lock:
            if self._handle:
                self._kernel.CloseHandle(self._handle)
                self._handle = None


def _kernel() -> Any:
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined, unused-ignore]
    handle = ctypes.c_void_p
    kernel.CreateJobObjectW.restype = handle
    kernel.CreateJobObjectW.argtypes = (handle, ctypes.c_wchar_p)
    kernel.SetInformationJobObject.argtypes = (handle, ctypes.c_int, handle, ctypes.c_uint32)
    kernel.AssignProcessToJobObject.argtypes = (handle, handle)
    kernel.TerminateJobObject.argtypes = (handle, ctypes.c_uint32)
    kernel.CloseHandle.argtypes = (handle,)
    return kernel
