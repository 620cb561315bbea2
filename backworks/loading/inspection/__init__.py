"""What a library file says about itself, read from its bytes: nothing of it is run.

The file is one that nobody trusts yet, so the system's linker never sees it here. It is read in pieces, each
checked against the file's size first; every count and every name is bounded by that size; and whatever the bytes
are, the outcome is a :class:`LibraryInfo` or one of the errors that :func:`inspect_library` names. The file is not
mapped into memory: a mapped file that somebody shortens kills the process that looks at it.
"""

from __future__ import annotations

from backworks.loading.inspection.checks import problems
from backworks.loading.inspection.host import this_machine, this_system
from backworks.loading.inspection.library import LibraryInfo, file_sha256, inspect_library
from backworks.loading.inspection.manifest import isolation_problem, parse_manifest
from backworks.loading.inspection.semver import version_key

__all__ = [
    "LibraryInfo",
    "file_sha256",
    "inspect_library",
    "isolation_problem",
    "parse_manifest",
    "problems",
    "this_machine",
    "this_system",
    "version_key",
]
