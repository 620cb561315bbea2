"""Reads the metadata of a library file from its bytes, without running any of its code.

The file is not trusted, so the system's linker is not involved. Each read is checked against the file's size first, and
that size also limits every count and every name. Whatever the bytes are, the outcome is a :class:`LibraryInfo` or one
of the errors of :func:`inspect_library`. The file is not mapped into memory, because truncating a mapped file kills the
process that reads it.
"""

from __future__ import annotations

from backworks.loading.inspection.checks import problems
from backworks.loading.inspection.host import this_machine, this_system
from backworks.loading.inspection.library import LibraryInfo, file_sha256, inspect_file, inspect_library
from backworks.loading.inspection.manifest import isolation_problem, parse_manifest
from backworks.loading.inspection.semver import version_key

__all__ = [
    "LibraryInfo",
    "file_sha256",
    "inspect_file",
    "inspect_library",
    "isolation_problem",
    "parse_manifest",
    "problems",
    "this_machine",
    "this_system",
    "version_key",
]
