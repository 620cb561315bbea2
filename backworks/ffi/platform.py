"""Flags to open a library: bind all symbols immediately, export none, find dependencies in safe places only."""

from __future__ import annotations

import os
import sys

__all__ = ["OPEN_FLAGS"]

if sys.platform == "win32":
    # LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_DEFAULT_DIRS: the library's directory, the system directory
    # and those of os.add_dll_directory; not PATH or the current directory, where anyone may have put a DLL.
    OPEN_FLAGS = 0x00000100 | 0x00001000
else:
    # RTLD_NOW: a missing symbol fails the load, instead of crashing a later call. RTLD_LOCAL: two plugins may have
    # functions with the same name.
    OPEN_FLAGS = os.RTLD_NOW | os.RTLD_LOCAL
