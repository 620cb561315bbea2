"""The exception hierarchy, and the codes that plugins return.

::

    BackworksError
    ├── ConfigError              the configuration is invalid; ``errors`` lists every problem
    ├── PluginLoadError          a file cannot be loaded as a plugin; nothing in it has been initialised
    │   ├── PluginNotFound           no such file, or a directory
    │   ├── NotALibraryError         not a complete ELF, Mach-O or PE file: empty, text or truncated
    │   ├── WrongPlatformError       a library for another system or processor
    │   ├── MissingSymbolsError      a library, but not a plugin; ``symbols`` lists what is missing
    │   ├── AbiVersionError          another version of the ABI; ``found`` and ``wanted``
    │   ├── IdentityError            its name() or version() returns an invalid value
    │   ├── ManifestError            the manifest is malformed, or contradicts the library
    │   ├── IsolationError           its manifest does not allow the isolation
    │   └── LinkError                the system's dynamic linker rejects it
    ├── PluginStateError         the host was misused: a call after close, an unknown plugin
    ├── BuildError               a plugin project does not build
    │   └── ToolNotFound             ... because a compiler or another tool is not installed
    ├── ListenError              the server cannot listen on the address
    ├── WorkerError              a server process exited before it served
    └── PluginError              a plugin returned a code other than OK
        ├── PluginInitError          ... during initialisation
        ├── PluginContractError      it broke a rule of the ABI (code INTERNAL)
        ├── PluginCrashed            its worker process exited; ``signal`` or ``exit_code``, ``stderr`` (code INTERNAL)
        ├── PluginTimeout            it did not answer in time (code DEADLINE_EXCEEDED)
        └── PluginUnavailable        it accepts no calls now; ``retry_after`` seconds, if known (code UNAVAILABLE)

Catch :exc:`BackworksError` to catch every exception that this package defines. Invalid arguments raise ``TypeError`` or
``ValueError``, as usual.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from backworks.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from typing import Any

__all__ = [
    "AbiVersionError",
    "BackworksError",
    "BuildError",
    "Code",
    "ConfigError",
    "IdentityError",
    "IsolationError",
    "LinkError",
    "ListenError",
    "ManifestError",
    "MissingSymbolsError",
    "NotALibraryError",
    "PluginContractError",
    "PluginCrashed",
    "PluginError",
    "PluginInitError",
    "PluginLoadError",
    "PluginNotFound",
    "PluginStateError",
    "PluginTimeout",
    "PluginUnavailable",
    "ToolNotFound",
    "WorkerError",
    "WrongPlatformError",
]


class Code(IntEnum):
    """The codes that a plugin returns: ``backworks_code`` in the C header, numbered like gRPC's status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class BackworksError(Exception):
    """The base class of all exceptions below. Never raised itself.

    The message of each is one printable line of limited length, whatever a plugin or a file contains: control
    characters are escaped. Only the message of :exc:`ConfigError` has several lines, one for each problem.

    Attributes:
        plugin: The name of the plugin concerned, or ``None``.
    """

    def __init__(self, message: str, *, plugin: str | None = None) -> None:
        super().__init__(printable(message))
        self.plugin = plugin

    def __reduce__(self) -> tuple[Any, ...]:
        # By default pickle calls the class with only the message, which fails where a keyword argument is required.
        return _restored, (type(self), self.args), self.__dict__


def _restored(kind: type[BackworksError], arguments: tuple[Any, ...]) -> BackworksError:
    return kind.__new__(kind, *arguments)


class ConfigError(BackworksError):
    """The configuration is invalid.

    Attributes:
        errors: One line for each problem, in the order of the file:
            ``backworks.yaml:12:14: plugins.weather.timeout: ...``.
    """

    def __init__(self, errors: Sequence[str], *, plugin: str | None = None) -> None:
        self.errors = tuple(map(printable, errors))
        super().__init__("", plugin=plugin)
        self.args = ("\n".join(self.errors),)


class PluginLoadError(BackworksError):
    """A file cannot be loaded as a plugin. The subclasses are the reasons.

    Attributes:
        path: The file, as the caller named it.
    """

    def __init__(self, message: str, *, path: str | Path, plugin: str | None = None) -> None:
        super().__init__(message, plugin=plugin)
        self.path = str(path)


class PluginNotFound(PluginLoadError):
    """The file does not exist, or is not a regular file."""


class NotALibraryError(PluginLoadError):
    """The file is not a complete ELF, Mach-O or PE shared library."""


class WrongPlatformError(PluginLoadError):
    """The library was built for another operating system or processor."""


class MissingSymbolsError(PluginLoadError):
    """The library lacks functions that every plugin must export.

    Attributes:
        symbols: The names of the missing functions.
    """

    def __init__(self, message: str, *, path: str | Path, symbols: Iterable[str], plugin: str | None = None) -> None:
        super().__init__(message, path=path, plugin=plugin)
        self.symbols = tuple(symbols)


class AbiVersionError(PluginLoadError):
    """The library was built for another version of the ABI.

    Attributes:
        found: The library's version.
        wanted: The host's version.
    """

    def __init__(self, message: str, *, path: str | Path, found: int, wanted: int, plugin: str | None = None) -> None:
        super().__init__(message, path=path, plugin=plugin)
        self.found = found
        self.wanted = wanted


class IdentityError(PluginLoadError):
    """The library's functions return an invalid name or version."""


class ManifestError(PluginLoadError):
    """The manifest cannot be read, or contradicts the library."""


class IsolationError(PluginLoadError):
    """The manifest does not allow the requested isolation, such as running in the host process."""


class LinkError(PluginLoadError):
    """The system's dynamic linker rejects the library, for instance because a dependency is missing."""


class PluginStateError(BackworksError):
    """The host was misused: a plugin was called after it was closed, or does not exist."""


class BuildError(BackworksError):
    """A plugin project does not build; the compiler's output has been shown."""


class ToolNotFound(BuildError):
    """A compiler or another tool that the build needs is not installed."""


class ListenError(BackworksError):
    """The server cannot listen on the configured address."""


class WorkerError(BackworksError):
    """A server process exited before it served."""


class PluginError(BackworksError):
    """A plugin returned a code other than OK, or could not answer.

    Attributes:
        code: The :class:`Code`. An unknown number becomes ``Code.UNKNOWN``.
        message: The plugin's own message, with control characters and at most 64 KiB of it; may be empty.
        http_status: The HTTP status that the plugin set, or ``None``.
    """

    def __init__(
        self,
        message: str,
        *,
        code: Code = Code.UNKNOWN,
        plugin: str | None = None,
        http_status: int | None = None,
    ) -> None:
        prefix = f"{plugin}: " if plugin else ""
        super().__init__(f"{prefix}{code.name}{': ' if message else ''}{message}", plugin=plugin)
        self.code = code
        self.message = message
        self.http_status = http_status


class PluginInitError(PluginError):
    """The plugin failed to initialise, usually because of its configuration."""


class PluginContractError(PluginError):
    """The plugin broke a rule of the ABI; its answer was discarded."""

    def __init__(self, message: str, *, plugin: str | None = None) -> None:
        super().__init__(message, code=Code.INTERNAL, plugin=plugin)


class PluginCrashed(PluginError):
    """The plugin's worker process exited unexpectedly; a call in flight may or may not have taken effect.

    Attributes:
        signal: The name of the signal that killed it, such as ``"SIGSEGV"``, or ``None``.
        exit_code: Its exit code; ``None`` if a signal killed it or the code is unknown.
        stderr: The last lines that it wrote to stderr.
        endpoint: The endpoint of the call in flight, or ``None``.
    """

    def __init__(
        self,
        message: str,
        *,
        plugin: str | None = None,
        endpoint: str | None = None,
        signal: str | None = None,
        exit_code: int | None = None,
        stderr: Sequence[str] = (),
    ) -> None:
        super().__init__(message, code=Code.INTERNAL, plugin=plugin)
        self.endpoint = endpoint
        self.signal = signal
        self.exit_code = exit_code
        self.stderr = tuple(stderr)


class PluginTimeout(PluginError):
    """The plugin did not answer in time."""

    def __init__(self, message: str, *, plugin: str | None = None) -> None:
        super().__init__(message, code=Code.DEADLINE_EXCEEDED, plugin=plugin)


class PluginUnavailable(PluginError):
    """The plugin accepts no calls now.

    Attributes:
        retry_after: Seconds to wait before a retry, or ``None`` if unknown.
    """

    def __init__(self, message: str, *, plugin: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, code=Code.UNAVAILABLE, plugin=plugin)
        self.retry_after = retry_after
