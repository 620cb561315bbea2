"""Finds the SDKs for plugin authors that are part of this installation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

__all__ = ["KITS", "Kit", "path"]

Kit = Literal["c", "cpp", "rust", "go", "zig"]

_PACKAGE = Path(__file__).resolve().parent

#: Where an SDK may be: inside the package in a wheel, beside it in a checkout, including an editable installation.
_PLACES = (_PACKAGE / "_sdk", _PACKAGE.parent / "sdk")

#: Each SDK, and a file that identifies it.
KITS: dict[Kit, str] = {
    "c": "backworks_plugin.h",
    "cpp": "backworks_plugin.hpp",
    "rust": "Cargo.toml",
    "go": "go.mod",
    "zig": "backworks.zig",
}


def path(kind: Kit) -> Path:
    """Returns the directory of an SDK: the path for ``cc -I``, for a dependency on the crate, and so on.

    Args:
        kind: ``"c"`` for the directory of ``backworks_plugin.h``, ``"cpp"`` for that of ``backworks_plugin.hpp``,
            ``"rust"`` for the crate ``backworks-plugin-sdk``, ``"go"`` for the package, ``"zig"`` for the module
            ``backworks``. The C++ and Go SDKs also need the C header.

    Raises:
        ValueError: There is no such SDK.
        FileNotFoundError: The SDK is not part of this installation.
    """
    try:
        landmark = KITS[kind]
    except KeyError:
        raise ValueError(f"the SDK must be one of {', '.join(map(repr, KITS))}, not {kind!r}") from None
    for place in _PLACES:
        if (place / kind / landmark).is_file():
            return place / kind
    looked = " and ".join(str(place / kind) for place in _PLACES)
    raise FileNotFoundError(
        f"the {kind} SDK is not part of this installation: no {landmark} in {looked}; reinstall backworks"
    )
