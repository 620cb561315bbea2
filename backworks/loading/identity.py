"""Checks the name, version and ABI that a library reports, with the same errors for every isolation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from backworks.errors import AbiVersionError, IdentityError, LinkError, ManifestError, MissingSymbolsError
from backworks.ffi.contract import ABI_VERSION
from backworks.loading.inspection.manifest import NAME
from backworks.loading.inspection.semver import SEMVER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Identity", "check_abi", "identify", "link_error", "missing_symbols"]

_GRAMMAR = {"name": NAME, "version": SEMVER}
_ACCEPTED = {
    "name": "1 to 64 characters of [a-z0-9._-], starting with a letter or digit",
    "version": 'a version as in semver.org, such as "1.2.0"',
}


class Identity(NamedTuple):
    """A plugin's name, version and description."""

    name: str
    version: str
    description: str


def identify(
    path: Path, name: bytes | None, version: bytes | None, description: bytes | None, manifest: Mapping[str, Any] | None
) -> Identity:
    """Checks the return values of a library's functions.

    Args:
        path: The library.
        name, version, description: The return values; ``None`` as description if the library does not export one.
        manifest: The library's manifest, or ``None``.

    Raises:
        IdentityError: The name or the version is not valid.
        ManifestError: The name or the version differs from the manifest.
    """
    found = {"name": _text(name, "name", path), "version": _text(version, "version", path)}
    for member, value in found.items():
        if manifest is not None and manifest[member] != value:
            raise ManifestError(
                f"{path}: backworks_plugin_{member}() returns {value!r}, but the manifest has "
                f"{manifest[member]!r}: they must be equal",
                path=path,
            )
    text = str((manifest or {}).get("description", "")) or (description or b"").decode("utf-8", "replace")
    return Identity(found["name"], found["version"], text)


def check_abi(path: Path, found: int) -> None:
    """Checks a library's ABI version.

    Raises:
        AbiVersionError: It differs from this host's.
    """
    if found != ABI_VERSION:
        raise AbiVersionError(
            f"{path}: the plugin has ABI version {found}, but this host has version {ABI_VERSION}: rebuild the "
            "plugin with this host's backworks_plugin.h, or use the host that it was built for",
            path=path,
            found=found,
            wanted=ABI_VERSION,
        )


def missing_symbols(path: Path, missing: Sequence[str]) -> MissingSymbolsError:
    """Creates the exception for a library in which the dynamic linker cannot find required symbols."""
    return MissingSymbolsError(
        f"{path}: the dynamic linker cannot find {', '.join(missing)}", path=path, symbols=missing
    )


def link_error(path: Path, staged: Path, text: str) -> LinkError:
    """Creates the exception for a library that the dynamic linker cannot load.

    Args:
        path: The library.
        staged: Its private copy, whose path the message must not contain.
        text: The linker's message.
    """
    for copy in (str(staged), repr(str(staged))[1:-1]):  # the second form has its backslashes doubled
        text = text.replace(copy, path.name)
    return LinkError(f"{path}: the dynamic linker cannot load it: {text}", path=path)


def _text(text: bytes | None, member: str, path: Path) -> str:
    if text is None:
        found = "NULL"
    else:
        try:
            decoded = text.decode()
        except UnicodeDecodeError:
            decoded = ""
        if _GRAMMAR[member].fullmatch(decoded):
            return decoded
        found = repr(decoded or text[:64])
    raise IdentityError(f"{path}: backworks_plugin_{member}() must return {_ACCEPTED[member]}, not {found}", path=path)
