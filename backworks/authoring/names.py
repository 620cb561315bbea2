"""What a project may be called, and what its files are called after it."""

from __future__ import annotations

import re

from backworks.loading.inspection.manifest import NAME

__all__ = ["check_name", "file_name"]

#: What no file may be called on Windows, and no crate anywhere: keywords of Rust and crates that are always there.
_TAKEN = frozenset(
    [f"{port}{number}" for port in ("com", "lpt") for number in range(10)]
    + re.findall(
        r"\w+",
        """
        aux con nul prn
        abstract as async await become box break const continue crate do dyn else enum extern false final fn for gen if
        impl in let loop macro match mod move mut override priv pub ref return self static struct super trait true try
        type typeof unsafe unsized use virtual where while yield
        alloc backworks_plugin_sdk core proc_macro std test
        """,
    )
)


def check_name(name: str) -> None:
    """Checks what a plugin, and the directory of its project, is to be called.

    Raises:
        ValueError: It is not accepted; the text tells what is, and a name near to it if there is one.
    """
    if NAME.fullmatch(name) and not name.endswith("."):
        return
    near = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).lstrip("._-").rstrip(".-")[:64]
    hint = f"; how about {near}?" if near and NAME.fullmatch(near) else ""
    raise ValueError(
        f"{name!r} is no name for a plugin: 1 to 64 characters of [a-z0-9._-], the first a letter or a digit, the last "
        f"not a full stop{hint}"
    )


def file_name(name: str) -> str:
    """Returns the name as an identifier of every language, of which the library and the crate take theirs."""
    identifier = re.sub(r"[^a-z0-9]", "_", name)
    if identifier[0].isdigit():
        return f"plugin_{identifier}"
    return f"{identifier}_plugin" if identifier in _TAKEN else identifier
