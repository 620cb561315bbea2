"""The manifest: the JSON object that a plugin carries in a section of its own, and the rules it is held to.

The rules are those of ``backworks_manifest_header`` in ``backworks_plugin.h``. A text that JSON readers
disagree about (a member twice, NaN, a lone surrogate) is refused: what one tool checked, another must not
read differently.
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

#: As much of the section as a manifest can take.
MAX_SECTION = _HEADER.size + _MAX_SIZE

#: What a plugin may be called.
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

#: Where a plugin can run, the safest first.
ISOLATIONS = ("process", "thread", "none")

# Control characters would let a file that is only listed steer the terminal it is listed on. Tab and line
# feed may be.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def read_section(section: bytes, *, big_endian: bool = False) -> tuple[dict[str, Any] | None, str | None]:
    """Reads what the manifest's section begins with.

    Args:
        section: The section, or its first ``MAX_SECTION`` bytes.
        big_endian: The byte order of the platform.

    Returns:
        The manifest and ``None``, or ``None`` and what is wrong with it.
    """
    if len(section) < _HEADER.size:
        return None, f"its section has {len(section)} bytes, fewer than its header of {_HEADER.size}"
    magic, size, reserved = Struct((">" if big_endian else "<") + _HEADER.format).unpack_from(section)
    if magic != _MAGIC:
        return None, f"its section begins with {magic!r}, not with {_MAGIC!r}"
    if reserved:
        return None, f"the reserved field of its header is {reserved}, not 0"
    if size > _MAX_SIZE:
        return None, f"it claims {size} bytes; at most {_MAX_SIZE} are allowed"
    if size > len(section) - _HEADER.size:
        return None, f"it claims {size} bytes; its section holds {len(section) - _HEADER.size}"
    return parse_manifest(section[_HEADER.size : _HEADER.size + size])


def parse_manifest(data: bytes) -> tuple[dict[str, Any] | None, str | None]:
    """Reads the JSON of a manifest and checks it.

    Returns:
        The manifest and ``None``, or ``None`` and everything that is wrong with it, joined by semicolons.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return None, f"it is not UTF-8 at byte {error.start}"
    try:
        manifest = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite)
        if "\\u" in text:
            json.dumps(manifest, ensure_ascii=False).encode()
    except RecursionError:
        return None, "it is nested too deeply"
    except UnicodeEncodeError:
        return None, "it has half of a surrogate pair, which is no character"
    except json.JSONDecodeError as error:
        return None, f"it is not JSON: {error.msg} at character {error.pos}"
    except ValueError as error:
        return None, f"it is not JSON: {error}"
    if not isinstance(manifest, dict):
        return None, f"it is {_kind(manifest)}, not an object"
    problems = [*_check_required(manifest), *_check_optional(manifest)]
    return (None, "; ".join(problems)) if problems else (manifest, None)


def isolation_problem(manifest: Mapping[str, Any] | None, isolation: str) -> str | None:
    """Tells why a plugin must not run with an isolation, in a sentence, or ``None``.

    Args:
        manifest: What the plugin's file says of it, if it says anything.
        isolation: One of :data:`ISOLATIONS`.
    """
    accepted = (manifest or {}).get("isolation", ISOLATIONS)
    if isolation in accepted:
        return None
    return f"isolation {isolation!r} is not for this plugin; its manifest accepts {' and '.join(map(repr, accepted))}"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the member {_short(key)} is there twice")
        found[key] = value
    return found


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON value")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {_short(text)} is out of range")
    return number


def _check_required(manifest: dict[str, Any]) -> list[str]:
    problems = [
        f'"{key}" is missing; every manifest has it' for key in ("name", "version", "abi") if key not in manifest
    ]
    for key, grammar, rule in (
        ("name", NAME, "1 to 64 characters of [a-z0-9._-], the first a letter or a digit"),
        ("version", SEMVER, 'a version as in semver.org ("1.2.0")'),
    ):
        value = manifest.get(key)
        if key in manifest and not (isinstance(value, str) and grammar.fullmatch(value)):
            problems.append(f'"{key}" is {_short(value)}, not {rule}')
    abi = manifest.get("abi")
    if "abi" in manifest and (not isinstance(abi, int) or isinstance(abi, bool) or abi < 0):
        problems.append(f'"abi" is {_short(abi)}, not a whole number')
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
        f'"{key}" is {_short(manifest[key])}, not {rule}'
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
    """Returns a value as a line of ASCII of bounded length."""
    text = _kind(value) if isinstance(value, (dict, list)) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
