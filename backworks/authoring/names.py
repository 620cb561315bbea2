"""Valid project names, and the file names derived from them."""

from __future__ import annotations

import re

from backworks.loading.inspection.manifest import NAME

__all__ = ["check_name", "file_name"]

#: Reserved names: those of devices on Windows, keywords of Rust, and crates that always exist.
_RESERVED = frozenset(
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
    """Checks the name of a plugin, which is also that of its project's directory.

    Raises:
        ValueError: The name is invalid. The message gives the rule, and a similar valid name if there is one.
    """
    if NAME.fullmatch(name) and not name.endswith("."):
        return
    near = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).lstrip("._-").rstrip(".-")[:64]
    hint = f"; try {near}" if near and NAME.fullmatch(near) else ""
    raise ValueError(
        f"{name!r} is not a valid plugin name: it must have 1 to 64 characters of [a-z0-9._-], start with a letter or "
        f"digit, and not end with a full stop{hint}"
    )


def file_name(name: str) -> str:
    """Returns the name as an identifier valid in every language, after which the library and the crate are named."""
    identifier = re.sub(r"[^a-z0-9]", "_", name)
    if identifier[0].isdigit():
        return f"plugin_{identifier}"
    return f"{identifier}_plugin" if identifier in _RESERVED else identifier
