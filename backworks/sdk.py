"""Where the kits for plugin authors are: the C header and the Rust crate that came with this installation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

__all__ = ["path"]

_PACKAGE = Path(__file__).resolve().parent

#: Where a kit may be, the likelier place first: a wheel has them inside of the package; a checkout, also one that was
#: installed with ``pip install -e``, beside it.
_PLACES = (_PACKAGE / "_sdk", _PACKAGE.parent / "sdk")

_KITS = {"c": "backworks_plugin.h", "rust": "Cargo.toml"}


def path(kind: Literal["c", "rust"]) -> Path:
    """Returns the folder of a kit: the one to give to ``cc -I``, or the path of the crate to depend on.

    Args:
        kind: ``"c"`` for the folder of ``backworks_plugin.h``, ``"rust"`` for the crate ``backworks-plugin-sdk``.

    Raises:
        ValueError: There is no kit of that kind.
        FileNotFoundError: The kit is not part of this installation.
    """
    try:
        landmark = _KITS[kind]
    except KeyError:
        raise ValueError(f"there is no kit {kind!r}: use 'c' or 'rust'") from None
    for place in _PLACES:
        if (place / kind / landmark).is_file():
            return place / kind
    looked = " and ".join(str(place / kind) for place in _PLACES)
    raise FileNotFoundError(
        f"the {kind} kit is not part of this installation: no {landmark} in {looked}; install backworks again"
    )
