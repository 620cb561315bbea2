"""Checks that involve more than one field.

The checks read the plain data, not the models, so an invalid field elsewhere hides nothing that they would find. They
skip values of the wrong type, which the models report.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from backworks.config.source import Problem, show

if TYPE_CHECKING:
    from backworks.config.models import Config

__all__ = ["FOR_PROCESSES", "METHODS", "RESERVED_PATHS", "cross_check", "suggestion", "warnings_of"]

#: The server's own routes.
RESERVED_PATHS = ("/docs", "/healthz", "/metrics", "/openapi.json", "/readyz")

#: RFC 9110, section 9, and RFC 5789; without CONNECT, which no server of endpoints answers.
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
#: Characters that cannot occur in the decoded path of a URL, or that do not survive encoding and decoding.
_NOT_IN_SEGMENT = re.compile(r"[{}?#%\\\x00-\x20\x7f]")

#: Settings that only apply to worker processes.
FOR_PROCESSES = ("restart", "start_timeout", "limits", "environment")

_OFF = ("false", "no", "off", "0")


def suggestion(name: str, known: list[str]) -> str:
    """Suggests the closest known name, if there is one, and lists all known names."""
    if not known:
        return "no plugins are available"
    near = difflib.get_close_matches(name, known, n=1)
    if near and len(known) == 1:
        return f"did you mean {near[0]}?"
    if len(known) == 1:
        return f"expected {known[0]}"
    names = ", ".join(known)
    return f"did you mean {near[0]}? Expected one of {names}" if near else f"expected one of {names}"


def cross_check(data: object, default_isolation: str) -> list[Problem]:
    """Checks names, paths and references.

    Args:
        data: The plain data of a configuration.
        default_isolation: The isolation of an external plugin that does not set one.

    Returns:
        The problems, in no particular order.
    """
    plugins = _mapping(data, "plugins")
    endpoints = _mapping(data, "endpoints")
    return [
        *_check_plugins(plugins, discovers=_discovers(data), default_isolation=default_isolation),
        *_check_paths(list(endpoints)),
        *_check_endpoints(endpoints, plugins, discovers=_discovers(data)),
    ]


def warnings_of(config: Config) -> list[str]:
    """Lists settings that are valid but that the host cannot honour, in the format of errors."""
    problems = []
    for name, plugin in config.plugins.items():
        if plugin.isolation == "none" and plugin.timeout is not None:
            text = "cannot be enforced with isolation none; the plugin only receives the deadline"
            problems.append(Problem(("plugins", name, "timeout"), text))
        if plugin.isolation == "none" and "queue" in plugin.model_fields_set:
            text = "has no effect with isolation none: calls run in the caller's threads and never wait"
            problems.append(Problem(("plugins", name, "queue"), text))
    for path, endpoint in config.endpoints.items():
        plugin_of = config.plugins.get(endpoint.runtime.handler)
        if plugin_of is not None and plugin_of.isolation == "none" and endpoint.timeout is not None:
            text = (
                f"cannot be enforced because {endpoint.runtime.handler} uses isolation none; "
                "the plugin only receives the deadline"
            )
            problems.append(Problem(("endpoints", path, "timeout"), text))
    return config.source.lines([*problems, *_unused(config), *_unusual_methods(config)])


def _unused(config: Config) -> Iterator[Problem]:
    if not config.endpoints:
        yield Problem(("endpoints",), "there are no endpoints, so a server has nothing to serve", at_key=True)
        return
    used = {endpoint.runtime.handler for endpoint in config.endpoints.values()}
    for name, plugin in config.plugins.items():
        if plugin.enabled and name not in used:
            yield Problem(("plugins", name), "no endpoint uses the plugin", at_key=True)


def _unusual_methods(config: Config) -> Iterator[Problem]:
    for path, endpoint in config.endpoints.items():
        for method in endpoint.methods:
            if method not in METHODS:
                text = f"{show(method)} is not a standard HTTP method; {suggestion(method, list(METHODS))}"
                yield Problem(("endpoints", path), text, at_key=True)


def _check_plugins(plugins: Mapping[str, object], *, discovers: bool, default_isolation: str) -> Iterator[Problem]:
    for name, plugin in plugins.items():
        if not _NAME.fullmatch(name):
            text = (
                "a plugin's name must have 1 to 64 letters, digits, '.', '_' and '-', starting with a letter or digit, "
                f"not {show(name)}"
            )
            yield Problem(("plugins", name), text, at_key=True)
        settings = {} if plugin is None else plugin
        if not isinstance(settings, Mapping):
            continue
        builtin = settings.get("plugin_type", "external") != "external"
        isolation = settings.get("isolation", "thread" if builtin else default_isolation)
        if builtin and isolation == "process":
            text = "must be 'none' or 'thread', not 'process': a builtin plugin is a Python object of the host"
            yield Problem(("plugins", name, "isolation"), text)
        elif isolation in ("none", "thread"):
            for key in FOR_PROCESSES:
                if settings.get(key):
                    text = f"requires isolation process, but the plugin uses {isolation}; remove it or change isolation"
                    yield Problem(("plugins", name, key), text, at_key=True)
        if builtin:
            continue
        if settings.get("path") is None and not discovers:
            text = "is missing; set the path of the library, or set up plugin_discovery to find the plugin"
            yield Problem(("plugins", name, "path"), text, at_key=True)


def _check_paths(paths: list[str]) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for path in paths:
        text = _path_problem(path)
        shape = _PARAMETER.sub("{}", path)
        if text is None and shape in seen:
            text = f"matches the same requests as endpoint {show(seen[shape])}; remove one of them"
        if text is not None:
            yield Problem(("endpoints", path), text, at_key=True)
        seen.setdefault(shape, path)


def _path_problem(path: str) -> str | None:
    if not path.startswith("/"):
        return f"the path must start with '/', not {show(path)}"
    if path in RESERVED_PATHS:
        return f"the server reserves the paths {', '.join(RESERVED_PATHS)}; choose another path"
    names = []
    for segment in path[1:].removesuffix("/").split("/") if path != "/" else ():
        parameter = _PARAMETER.fullmatch(segment)
        if parameter:
            names.append(parameter[1])
        elif segment in ("", ".", "..") or _NOT_IN_SEGMENT.search(segment):
            return f"a path segment must be {{name}}, or text without spaces and {{}}?#%\\, not {show(segment)}"
    double = next((name for name in names if names.count(name) > 1), None)
    return f"the path uses the parameter {{{double}}} more than once; rename one of them" if double else None


def _check_endpoints(
    endpoints: Mapping[str, object], plugins: Mapping[str, object], *, discovers: bool
) -> Iterator[Problem]:
    for path, endpoint in endpoints.items():
        if not isinstance(endpoint, Mapping):
            continue
        if "method" in endpoint and "methods" in endpoint:
            text = "method and methods cannot be combined; remove one of them"
            yield Problem(("endpoints", path, "methods"), text, at_key=True)
        runtime = endpoint.get("runtime")
        handler = runtime.get("handler") if isinstance(runtime, Mapping) else None
        if not isinstance(handler, str) or not handler:
            continue
        place = ("endpoints", path, "runtime", "handler")
        if handler not in plugins:
            if not discovers:
                yield Problem(place, f"there is no plugin {show(handler)}; {suggestion(handler, list(plugins))}")
        elif _is_off(plugins[handler]):
            yield Problem(place, f"plugin {show(handler)} is disabled; enable it or remove the endpoint")


def _mapping(data: object, key: str) -> Mapping[str, object]:
    value = data.get(key) if isinstance(data, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _is_off(section: object) -> bool:
    return isinstance(section, Mapping) and str(section.get("enabled", True)).lower() in _OFF


def _discovers(data: object) -> bool:
    discovery = _mapping(data, "plugin_discovery")
    return bool(discovery.get("directories")) and not _is_off(discovery)
