"""Backworks runs compiled plugins: shared libraries behind one small C ABI, called, supervised and served from Python.

::

    import backworks

    with backworks.load("plugins/weather", {"reports": "reports.txt"}) as weather:
        print(weather.process_endpoint_data("/api/weather/KJFK"))

:func:`load` runs one plugin. :class:`PluginManager` runs those of a configuration, :func:`create_app` serves them.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # type checkers know the name; the module typing is half of what an import of this one would cost
if TYPE_CHECKING:
    from typing import Any

    from backworks.builtin import BackworksPlugin
    from backworks.errors import (
        AbiVersionError,
        BackworksError,
        BuildError,
        Code,
        ConfigError,
        IdentityError,
        IsolationError,
        LinkError,
        ListenError,
        ManifestError,
        MissingSymbolsError,
        NotALibraryError,
        PluginContractError,
        PluginCrashed,
        PluginError,
        PluginInitError,
        PluginLoadError,
        PluginNotFound,
        PluginStateError,
        PluginTimeout,
        PluginUnavailable,
        ToolNotFound,
        WorkerError,
        WrongPlatformError,
    )
    from backworks.http import create_app
    from backworks.loading.discovery import PluginDiscovery
    from backworks.loading.loader import DynamicPluginLoader
    from backworks.loading.registry import PluginRegistry
    from backworks.manager import PluginManager
    from backworks.plugin import Plugin, PluginHealth
    from backworks.reply import PluginResult
    from backworks.settings import Breaker, Limits, Restart, Settings
    from backworks.starting import load

__version__ = "0.1.0"

#: Public name -> the module that has it. Each is imported when it is first used, so that a program which loads one
#: plugin does not wait for the configuration, the server or the reader of Mach-O files.
_HOMES = {
    "AbiVersionError": "errors",
    "BackworksError": "errors",
    "BackworksPlugin": "builtin",
    "Breaker": "settings",
    "BuildError": "errors",
    "Code": "errors",
    "ConfigError": "errors",
    "DynamicPluginLoader": "loading.loader",
    "IdentityError": "errors",
    "IsolationError": "errors",
    "Limits": "settings",
    "LinkError": "errors",
    "ListenError": "errors",
    "ManifestError": "errors",
    "MissingSymbolsError": "errors",
    "NotALibraryError": "errors",
    "Plugin": "plugin",
    "PluginContractError": "errors",
    "PluginCrashed": "errors",
    "PluginDiscovery": "loading.discovery",
    "PluginError": "errors",
    "PluginHealth": "plugin",
    "PluginInitError": "errors",
    "PluginLoadError": "errors",
    "PluginManager": "manager",
    "PluginNotFound": "errors",
    "PluginRegistry": "loading.registry",
    "PluginResult": "reply",
    "PluginStateError": "errors",
    "PluginTimeout": "errors",
    "PluginUnavailable": "errors",
    "Restart": "settings",
    "Settings": "settings",
    "ToolNotFound": "errors",
    "WorkerError": "errors",
    "WrongPlatformError": "errors",
    "create_app": "http",
    "load": "starting",
}

__all__ = [
    "AbiVersionError",
    "BackworksError",
    "BackworksPlugin",
    "Breaker",
    "BuildError",
    "Code",
    "ConfigError",
    "DynamicPluginLoader",
    "IdentityError",
    "IsolationError",
    "Limits",
    "LinkError",
    "ListenError",
    "ManifestError",
    "MissingSymbolsError",
    "NotALibraryError",
    "Plugin",
    "PluginContractError",
    "PluginCrashed",
    "PluginDiscovery",
    "PluginError",
    "PluginHealth",
    "PluginInitError",
    "PluginLoadError",
    "PluginManager",
    "PluginNotFound",
    "PluginRegistry",
    "PluginResult",
    "PluginStateError",
    "PluginTimeout",
    "PluginUnavailable",
    "Restart",
    "Settings",
    "ToolNotFound",
    "WorkerError",
    "WrongPlatformError",
    "__version__",
    "create_app",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'backworks' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"backworks.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
