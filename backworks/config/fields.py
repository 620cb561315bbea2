"""Validators of fields that are not plain scalars: paths, methods, and a plugin's own configuration."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from backworks.config.fieldtypes import custom
from backworks.config.source import show

if TYPE_CHECKING:
    from pydantic import ValidationInfo

    from backworks.config.source import Source

__all__ = ["TOKEN", "read_host", "read_import", "read_method", "read_methods", "read_path", "read_settings"]

#: A method (RFC 9110, section 5.6.2).
TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HOST = re.compile(r"\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_IMPORT = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def read_host(value: object) -> str:
    """Validates a name for the Host field and converts it to lower case."""
    if not isinstance(value, str) or not _HOST.fullmatch(value):
        raise custom(f"must be a host name without a port, such as example.com, *.example.com or *, not {show(value)}")
    return value.lower()


def read_path(value: object, info: ValidationInfo) -> Path:
    """Validates a path and makes it absolute; a relative path starts at the directory of the file."""
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value) or "\0" in str(value):
        raise custom(f"must be a path, absolute or relative to the directory of this file, not {show(value)}")
    if _CONTROL.search(os.fsdecode(value)):
        raise custom(
            f"must be a path without control characters, not {show(str(value))}; in double quotes, a backslash starts "
            "an escape, so write a path with backslashes in single quotes"
        )
    source: Source | None = (info.context or {}).get("source")
    # Not resolve(): deployments swap a symbolic link to a directory, and the path must keep going through that link.
    return Path(os.path.abspath((source.base if source else Path.cwd()) / value))  # noqa: PTH100


def read_import(value: object) -> str:
    """Validates the import path of a Python object."""
    if not isinstance(value, str) or not _IMPORT.fullmatch(value):
        raise custom(f"must be the import path of a builtin plugin, such as package.module:Name, not {show(value)}")
    return value


def read_method(value: object) -> str:
    """Validates an HTTP method and converts it to upper case."""
    if not isinstance(value, str) or not TOKEN.fullmatch(value):
        raise custom(f"must be an HTTP method such as GET or POST, not {show(value)}")
    return value.upper()


def read_methods(values: tuple[str, ...]) -> tuple[str, ...]:
    """Requires at least one method and removes duplicates."""
    if not values:
        raise custom("must list at least one method; remove methods to use the default, GET")
    return tuple(dict.fromkeys(values))


def read_settings(value: object) -> object:
    """Validates that JSON can represent a plugin's configuration; only a program can pass other values."""
    match value:
        case Mapping():
            return {key: read_settings(item) for key, item in value.items()}
        case list():
            return [read_settings(item) for item in value]
        case float() if value - value != 0:
            raise custom("must be a finite number: JSON cannot represent infinity and NaN")
        case int() if abs(value) > sys.float_info.max:
            raise custom("must be a number that JSON can represent: at most 1.8e308; quote it if it is text")
        case None | bool() | int() | float() | str():
            return value
        case os.PathLike():
            return os.fspath(value)
    raise custom(f"must be a value that JSON can represent, not {show(value)}")
