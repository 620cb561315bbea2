"""What takes more than one field to see.

The checks look at the plain data, not at the models, so that a wrong field elsewhere does not hide what they
find; they pass over what has another type than expected, which the models report.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from backworks.config.source import Problem, show

if TYPE_CHECKING:
    from backworks.config.models import Config

__all__ = ["FOR_PROCESSES", "RESERVED_PATHS", "cross_check", "suggestion", "warnings_of"]

#: The routes of the server itself.
RESERVED_PATHS = ("/docs", "/healthz", "/metrics", "/openapi.json", "/readyz")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
#: What cannot stand in a path that was taken out of a URL, or would not come back out of one as it went in.
_NOT_IN_SEGMENT = re.compile(r"[{}?#%\\\x00-\x20\x7f]")

#: What is said to worker processes, and has no meaning without them.
FOR_PROCESSES = ("restart", "start_timeout", "limits", "environment")

_OFF = ("false", "no", "off", "0")


def suggestion(name: str, known: list[str]) -> str:
    """Names the nearest known name, if one is near, and then all of them."""
    if not known:
        return "there are none"
    near = difflib.get_close_matches(name, known, n=1)
    names = ", ".join(known)
    return f"did you mean {near[0]}? Known are: {names}" if near else f"known are: {names}"


def cross_check(data: object, default_isolation: str) -> list[Problem]:
    """Checks names, paths and references.

    Args:
        data: The plain data of a configuration.
        default_isolation: Where a compiled plugin runs of which nothing is said.

    Returns:
        What is wrong, in no particular order.
    """
    plugins = _mapping(data, "plugins")
    endpoints = _mapping(data, "endpoints")
    return [
        *_check_plugins(plugins, discovers=_discovers(data), default_isolation=default_isolation),
        *_check_paths(list(endpoints)),
        *_check_endpoints(endpoints, plugins, discovers=_discovers(data)),
    ]


def warnings_of(config: Config) -> list[str]:
    """Lists what is allowed, but probably not meant, in the format of errors."""
    problems = []
    for name, plugin in config.plugins.items():
        if plugin.isolation == "none" and plugin.timeout is not None:
            text = "under isolation none nothing can stop a call; the plugin is only told how much time is left"
            problems.append(Problem(("plugins", name, "timeout"), text))
        if plugin.isolation == "none" and "queue" in plugin.model_fields_set:
            text = "under isolation none there is no queue; the threads of the caller are the limit"
            problems.append(Problem(("plugins", name, "queue"), text))
    for path, endpoint in config.endpoints.items():
        plugin_of = config.plugins.get(endpoint.runtime.handler)
        if plugin_of is not None and plugin_of.isolation == "none" and endpoint.timeout is not None:
            text = (
                f"{endpoint.runtime.handler} runs under isolation none, where nothing can stop a call; "
                "the plugin is only told how much time is left"
            )
            problems.append(Problem(("endpoints", path, "timeout"), text))
    return config.source.lines(problems)


def _check_plugins(plugins: Mapping[str, object], *, discovers: bool, default_isolation: str) -> Iterator[Problem]:
    for name, plugin in plugins.items():
        if not _NAME.fullmatch(name):
            text = f"found the name {show(name)}, accepted up to 64 letters, digits, '.', '_' and '-'"
            yield Problem(("plugins", name), text, at_key=True)
        settings = {} if plugin is None else plugin
        if not isinstance(settings, Mapping):
            continue
        builtin = settings.get("plugin_type", "external") != "external"
        isolation = settings.get("isolation", "thread" if builtin else default_isolation)
        if builtin and isolation == "process":
            text = "found 'process', accepted none or thread: a builtin plugin is an object of this process"
            yield Problem(("plugins", name, "isolation"), text)
        elif isolation in ("none", "thread"):
            for key in FOR_PROCESSES:
                if settings.get(key):
                    text = f"found with isolation {isolation}, accepted with isolation process: only that can do it"
                    yield Problem(("plugins", name, key), text, at_key=True)
        if builtin:
            continue
        if settings.get("path") is None and not discovers:
            text = "missing; write the path of the library, or let plugin_discovery look for the plugin"
            yield Problem(("plugins", name, "path"), text, at_key=True)


def _check_paths(paths: list[str]) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for path in paths:
        text = _path_problem(path)
        shape = _PARAMETER.sub("{}", path)
        if text is None and shape in seen:
            text = f"matches the same requests as the endpoint {show(seen[shape])}"
        if text is not None:
            yield Problem(("endpoints", path), text, at_key=True)
        seen.setdefault(shape, path)


def _path_problem(path: str) -> str | None:
    if not path.startswith("/"):
        return f"found {show(path)}, accepted a path that begins with /"
    if path in RESERVED_PATHS:
        return f"the server's own paths are {', '.join(RESERVED_PATHS)}; choose another"
    names = []
    for segment in path[1:].removesuffix("/").split("/") if path != "/" else ():
        parameter = _PARAMETER.fullmatch(segment)
        if parameter:
            names.append(parameter[1])
        elif segment in ("", ".", "..") or _NOT_IN_SEGMENT.search(segment):
            return f"found the segment {show(segment)}, accepted {{name}}, or text without space and {{}}?#%\\"
    double = next((name for name in names if names.count(name) > 1), None)
    return f"found {{{double}}} twice, accepted each name once" if double else None


def _check_endpoints(
    endpoints: Mapping[str, object], plugins: Mapping[str, object], *, discovers: bool
) -> Iterator[Problem]:
    for path, endpoint in endpoints.items():
        if not isinstance(endpoint, Mapping):
            continue
        if "method" in endpoint and "methods" in endpoint:
            yield Problem(("endpoints", path, "methods"), "found method and methods, accepted one of them", at_key=True)
        runtime = endpoint.get("runtime")
        handler = runtime.get("handler") if isinstance(runtime, Mapping) else None
        if not isinstance(handler, str) or not handler:
            continue
        place = ("endpoints", path, "runtime", "handler")
        if handler not in plugins:
            if not discovers:
                yield Problem(place, f"found no plugin {show(handler)}; {suggestion(handler, list(plugins))}")
        elif _is_off(plugins[handler]):
            yield Problem(place, f"the plugin {show(handler)} is disabled; enable it, or remove the endpoint")


def _mapping(data: object, key: str) -> Mapping[str, object]:
    value = data.get(key) if isinstance(data, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _is_off(section: object) -> bool:
    return isinstance(section, Mapping) and str(section.get("enabled", True)).lower() in _OFF


def _discovers(data: object) -> bool:
    discovery = _mapping(data, "plugin_discovery")
    return bool(discovery.get("directories")) and not _is_off(discovery)
