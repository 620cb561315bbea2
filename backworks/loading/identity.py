"""Who a library says it is, and whether that can be: the same words wherever its functions were called."""

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
    "name": "UTF-8 text of 1 to 64 characters of [a-z0-9._-], the first a letter or a digit,",
    "version": 'UTF-8 text as in semver.org ("1.2.0")',
}


class Identity(NamedTuple):
    """What a plugin is called."""

    name: str
    version: str
    description: str


def identify(
    path: Path, name: bytes | None, version: bytes | None, description: bytes | None, manifest: Mapping[str, Any] | None
) -> Identity:
    """Checks what a library's functions returned.

    Args:
        path: The library.
        name, version, description: What they returned; no description where it has none.
        manifest: Its manifest, or ``None``.

    Raises:
        IdentityError: It is nothing that could be used.
        ManifestError: The manifest says something else.
    """
    found = {"name": _text(name, "name", path), "version": _text(version, "version", path)}
    for member, value in found.items():
        if manifest is not None and manifest[member] != value:
            raise ManifestError(
                f"{path}: backworks_plugin_{member}() returns {value!r}, its manifest says "
                f"{manifest[member]!r}: they must be equal",
                path=path,
            )
    text = str((manifest or {}).get("description", "")) or (description or b"").decode("utf-8", "replace")
    return Identity(found["name"], found["version"], text)


def check_abi(path: Path, found: int) -> None:
    """Checks the version of the ABI that a library speaks.

    Raises:
        AbiVersionError: It is another than this host's.
    """
    if found != ABI_VERSION:
        raise AbiVersionError(
            f"{path}: speaks version {found} of the plugin ABI, this host version {ABI_VERSION}: rebuild the "
            "plugin with this host's backworks_plugin.h, or use the host that it was built for",
            path=path,
            found=found,
            wanted=ABI_VERSION,
        )


def missing_symbols(path: Path, missing: Sequence[str]) -> MissingSymbolsError:
    """Makes the exception for a library in which the dynamic linker does not find what every plugin has."""
    return MissingSymbolsError(
        f"{path}: the dynamic linker does not find {', '.join(missing)}", path=path, symbols=missing
    )


def link_error(path: Path, staged: Path, text: str) -> LinkError:
    """Makes the exception for a library that the dynamic linker refuses.

    Args:
        path: The library.
        staged: Its private copy, which the user does not know.
        text: The linker's words.
    """
    for copy in (str(staged), repr(str(staged))[1:-1]):  # in the second each backslash is two
        text = text.replace(copy, path.name)
    return LinkError(f"{path}: the dynamic linker refuses it: {text}", path=path)


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
    raise IdentityError(
        f"{path}: backworks_plugin_{member}() returns {found}; {_ACCEPTED[member]} is accepted", path=path
    )
