"""How each system is asked to open a library: all symbols now, none for others, dependencies from safe places."""

from __future__ import annotations

import os
import sys

__all__ = ["OPEN_FLAGS"]

if sys.platform == "win32":
    # LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_DEFAULT_DIRS: beside the library, the system's folder and
    # what os.add_dll_directory named; neither PATH nor the current folder, where anybody may have put a DLL.
    OPEN_FLAGS = 0x00000100 | 0x00001000
else:
    # RTLD_NOW: a missing symbol is an error of the load, not a crash of some later call. RTLD_LOCAL: two plugins may
    # have functions of one name.
    OPEN_FLAGS = os.RTLD_NOW | os.RTLD_LOCAL
