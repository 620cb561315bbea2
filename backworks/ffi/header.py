"""The declarations of ``backworks_plugin.h``, as text for a parser without a preprocessor."""

from __future__ import annotations

from backworks import sdk

__all__ = ["declarations"]

_BEGIN = "[backworks:declarations:begin] */"
_END = "/* [backworks:declarations:end] */"


def declarations() -> str:
    """Returns the text between the two markers of the header, which is plain C except for one macro.

    Raises:
        ImportError: The header of this installation is missing or has no markers.
    """
    path = sdk.path("c") / "backworks_plugin.h"
    try:
        text = path.read_text(encoding="utf-8")
        return text[text.index(_BEGIN) + len(_BEGIN) : text.index(_END)].replace("BACKWORKS_EXPORT ", "")
    except (OSError, ValueError) as error:
        raise ImportError(f"cannot read the declarations in {path}: {error}") from error
