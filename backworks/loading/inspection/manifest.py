"""The manifest: a JSON object in a dedicated section of the library, and its rules.

The rules are those of ``backworks_manifest_header`` in ``backworks_plugin.h``. JSON that readers interpret differently
(a duplicate member, NaN, a lone surrogate) is rejected, so that no other tool reads a checked manifest differently.
"""

from __future__ import annotations

import json
import math
import re
from struct import Struct
from typing import TYPE_CHECKING, Any

from backworks.loading.inspection.semver import SEMVER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ISOLATIONS", "MAX_SECTION", "NAME", "isolation_problem", "parse_manifest", "read_section"]

_HEADER = Struct("8sII")
_MAGIC = b"BWMANIF1"
_MAX_SIZE = 262_144

#: The size of the section with the largest manifest.
MAX_SECTION = _HEADER.size + _MAX_SIZE

#: A valid name of a plugin.
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

#: The isolations, the safest first.
ISOLATIONS = ("process", "thread", "none")

# Control characters would let a listed file control the terminal. Tab and line feed are allowed.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def read_section(section: bytes, *, big_endian: bool = False) -> tuple[dict[str, Any] | None, str | None]:
    """Reads the manifest from its section.

    Args:
        section: The section, or its first ``MAX_SECTION`` bytes.
        big_endian: The byte order of the platform.

    Returns:
        The manifest and ``None``, or ``None`` and the problem.
    """
    if len(section) < _HEADER.size:
        return None, f"its section has {len(section)} bytes, fewer than the header's {_HEADER.size}"
    magic, size, reserved = Struct((">" if big_endian else "<") + _HEADER.format).unpack_from(section)
    if magic != _MAGIC:
        return None, f"its section starts with {magic!r}, not {_MAGIC!r}"
    if reserved:
        return None, f"the reserved field of its header is {reserved}, not 0"
    if size > _MAX_SIZE:
        return None, f"its size is {size} bytes; the limit is {_MAX_SIZE}"
    if size > len(section) - _HEADER.size:
        return None, f"its size is {size} bytes, but its section holds {len(section) - _HEADER.size}"
    return parse_manifest(section[_HEADER.size : _HEADER.size + size])


def parse_manifest(data: bytes) -> tuple[dict[str, Any] | None, str | None]:
    """Parses and checks the JSON of a manifest.

    Returns:
        The manifest and ``None``, or ``None`` and all problems, joined by semicolons.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return None, f"it is not UTF-8 at byte {error.start}"
    try:
        manifest = json.loads(
            text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole
        )
        if "\\u" in text:
            json.dumps(manifest, ensure_ascii=False).encode()
    except RecursionError:
        return None, "it is nested too deeply"
    except UnicodeEncodeError:
        return None, "it contains a lone surrogate, which is not a character"
    except json.JSONDecodeError as error:
        return None, f"it is not JSON: {error.msg} at character {error.pos}"
    except ValueError as error:
        return None, f"it is not JSON: {error}"
    if not isinstance(manifest, dict):
        return None, f"it is {_kind(manifest)}, not an object"
    problems = [*_check_required(manifest), *_check_optional(manifest)]
    return (None, "; ".join(problems)) if problems else (manifest, None)


def isolation_problem(manifest: Mapping[str, Any] | None, isolation: str) -> str | None:
    """Returns why a plugin cannot run with an isolation, or ``None`` if it can.

    Args:
        manifest: The plugin's manifest, or ``None``.
        isolation: One of :data:`ISOLATIONS`.
    """
    allowed = (manifest or {}).get("isolation", ISOLATIONS)
    if isolation in allowed:
        return None
    return f"the manifest does not allow isolation {isolation!r}; use {' or '.join(map(repr, allowed))}"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"duplicate member {_short(key)}")
        found[key] = value
    return found


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON value")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {_short(text)} is out of range")
    return number


def _whole(text: str) -> int:
    if len(text) > 300:  # other readers have only floating-point numbers, which end at 1.8e308
        raise ValueError(f"the number {_short(text)} is out of range")
    return int(text)


def _check_required(manifest: dict[str, Any]) -> list[str]:
    problems = [f'"{key}" is missing, but required' for key in ("name", "version", "abi") if key not in manifest]
    for key, grammar, rule in (
        ("name", NAME, "1 to 64 characters of [a-z0-9._-], the first a letter or a digit"),
        ("version", SEMVER, 'a semantic version such as "1.2.0"'),
    ):
        value = manifest.get(key)
        if key in manifest and not (isinstance(value, str) and grammar.fullmatch(value)):
            problems.append(f'"{key}" must be {rule}, not {_short(value)}')
    abi = manifest.get("abi")
    if "abi" in manifest and (not isinstance(abi, int) or isinstance(abi, bool) or abi < 0):
        problems.append(f'"abi" must be a non-negative integer, not {_short(abi)}')
    return problems


def _check_optional(manifest: dict[str, Any]) -> list[str]:
    rules: dict[str, tuple[Callable[[Any], bool], str]] = {
        "description": (_is_text, "text without control characters"),
        "license": (_is_text, "text without control characters"),
        "authors": (_is_list_of_text, "a list of text without control characters"),
        "isolation": (_is_list_of_isolations, 'a list of one or more of "process", "thread" and "none"'),
        "permissions": (_is_list_of_text, "a list of text without control characters"),
        "thread_safe": (lambda value: isinstance(value, bool), "true or false"),
        "config_schema": (lambda value: isinstance(value, dict), "an object (a JSON Schema)"),
    }
    return [
        f'"{key}" must be {rule}, not {_short(manifest[key])}'
        for key, (fits, rule) in rules.items()
        if key in manifest and not fits(manifest[key])
    ]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not _CONTROL.search(value)


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(_is_text(item) for item in value)


def _is_list_of_isolations(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(item in ISOLATIONS for item in value)


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return "text" if isinstance(value, str) else json.dumps(value)


def _short(value: Any) -> str:
    """Returns a value as a short line of ASCII."""
    try:
        text = json.dumps(value)
    except RecursionError:
        text = _kind(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
