"""Where the kits for plugin authors are: what came with this installation for each language."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

__all__ = ["KITS", "Kit", "path"]

Kit = Literal["c", "cpp", "rust", "go", "zig"]

_PACKAGE = Path(__file__).resolve().parent

#: Where a kit may be, the likelier place first: a wheel has them inside of the package; a checkout, also one that was
#: installed with ``pip install -e``, beside it.
_PLACES = (_PACKAGE / "_sdk", _PACKAGE.parent / "sdk")

#: Each kit, and a file by which it is known.
KITS: dict[Kit, str] = {
    "c": "backworks_plugin.h",
    "cpp": "backworks_plugin.hpp",
    "rust": "Cargo.toml",
    "go": "go.mod",
    "zig": "backworks.zig",
}


def path(kind: Kit) -> Path:
    """Returns the folder of a kit: the one to give to ``cc -I``, the path of the crate to depend on, and so on.

    Args:
        kind: ``"c"`` for the folder of ``backworks_plugin.h``, ``"cpp"`` for that of ``backworks_plugin.hpp``,
            ``"rust"`` for the crate ``backworks-plugin-sdk``, ``"go"`` for the package, ``"zig"`` for the module
            ``backworks``. Those for C++ and Go stand on the C header.

    Raises:
        ValueError: There is no kit of that kind.
        FileNotFoundError: The kit is not part of this installation.
    """
    try:
        landmark = KITS[kind]
    except KeyError:
        raise ValueError(f"there is no kit {kind!r}: use {', '.join(map(repr, KITS))}") from None
    for place in _PLACES:
        if (place / kind / landmark).is_file():
            return place / kind
    looked = " and ".join(str(place / kind) for place in _PLACES)
    raise FileNotFoundError(
        f"the {kind} kit is not part of this installation: no {landmark} in {looked}; install backworks again"
    )
