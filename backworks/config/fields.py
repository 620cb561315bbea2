"""The reading of single fields that are no plain scalars: paths, methods, a plugin's own configuration."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from backworks.config.fieldtypes import custom
from backworks.config.source import show

if TYPE_CHECKING:
    from pydantic import ValidationInfo

    from backworks.config.source import Source

__all__ = ["read_import", "read_method", "read_methods", "read_path", "read_settings"]

#: RFC 9110, section 5.6.2.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_IMPORT = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def read_path(value: object, info: ValidationInfo) -> Path:
    """Takes a path and makes it absolute; a relative one starts at the directory of the file."""
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value) or "\0" in str(value):
        raise custom(f"found {show(value)}, accepted a path; a relative one starts at the directory of the file")
    source: Source | None = (info.context or {}).get("source")
    # Not resolve(): a directory of links that are swapped as a whole is how configurations are deployed.
    return Path(os.path.abspath((source.base if source else Path.cwd()) / value))  # noqa: PTH100


def read_import(value: object) -> str:
    """Takes what a Python object is imported by."""
    if not isinstance(value, str) or not _IMPORT.fullmatch(value):
        raise custom(f"found {show(value)}, accepted what a builtin plugin is imported by: package.module:Name")
    return value


def read_method(value: object) -> str:
    """Takes an HTTP method and puts it in upper case."""
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise custom(f"found {show(value)}, accepted an HTTP method such as GET or POST")
    return value.upper()


def read_methods(values: tuple[str, ...]) -> tuple[str, ...]:
    """Takes at least one method, and each once."""
    if not values:
        raise custom("found an empty list, accepted at least one method; without methods it is GET")
    return tuple(dict.fromkeys(values))


def read_settings(value: object) -> object:
    """Takes a plugin's configuration: what JSON can carry. Only a dict from a program can hold anything else."""
    match value:
        case Mapping():
            return {key: read_settings(item) for key, item in value.items()}
        case list():
            return [read_settings(item) for item in value]
        case float() if value - value != 0:
            raise custom("found a number that JSON cannot carry, accepted a finite one")
        case None | bool() | int() | float() | str():
            return value
        case os.PathLike():
            return os.fspath(value)
    raise custom(f"found {show(value)}, accepted what JSON can carry")
