"""One tree of exceptions, and the codes that plugins answer with.

::

    BackworksError
    ├── ConfigError              the configuration is wrong; ``errors`` lists everything that is
    ├── PluginLoadError          a file cannot be loaded as a plugin; nothing of it has been initialised
    │   ├── PluginNotFound           no such file, or a directory
    │   ├── NotALibraryError         empty, text, truncated: no ELF, Mach-O or PE file
    │   ├── WrongPlatformError       a library for another system or processor
    │   ├── MissingSymbolsError      a library, but not a plugin; ``symbols`` names what is missing
    │   ├── AbiVersionError          another version of the ABI; ``found`` and ``wanted``
    │   ├── IdentityError            its name() or version() returns nothing usable
    │   ├── ManifestError            the manifest is broken, or contradicts the library
    │   ├── IsolationError           its manifest does not accept the isolation
    │   └── LinkError                the system's dynamic linker refuses it
    ├── PluginStateError         the host was misused: a call after close, an unknown plugin
    ├── BuildError               a plugin's project does not build
    │   └── ToolNotFound             ... because a compiler or another tool is not installed
    ├── ListenError              the server cannot listen at the address
    ├── WorkerError              a process of the server ended before it served
    └── PluginError              a plugin answered with a code other than OK
        ├── PluginInitError          ... when it was initialised
        ├── PluginContractError      it broke the rules of the ABI (code INTERNAL)
        ├── PluginCrashed            its worker process ended; ``signal`` or ``exit_code``, ``stderr`` (code INTERNAL)
        ├── PluginTimeout            it did not answer in time (code DEADLINE_EXCEEDED)
        └── PluginUnavailable        it takes no calls now; ``retry_after`` seconds, if known (code UNAVAILABLE)

Who catches :exc:`BackworksError` catches all that this package raises on its own account. Wrong arguments are
``TypeError`` and ``ValueError``, as everywhere.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

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
    """What a plugin answers: ``backworks_code`` of the C header, which are gRPC's canonical codes by number."""

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
    """The base of all that follows. Never raised itself.

    Attributes:
        plugin: The name of the plugin that it is about, or ``None``.
    """

    def __init__(self, message: str, *, plugin: str | None = None) -> None:
        super().__init__(message)
        self.plugin = plugin

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call the class with the whole message alone; this way it crosses a process as it is.
        return _again, (type(self), self.args), self.__dict__


def _again(kind: type[BackworksError], arguments: tuple[Any, ...]) -> BackworksError:
    return kind.__new__(kind, *arguments)


class ConfigError(BackworksError):
    """The configuration is wrong.

    Attributes:
        errors: One line for each thing that is wrong, in the order of the file:
            ``backworks.yaml:12:14: plugins.weather.timeout: ...``.
    """

    def __init__(self, errors: Sequence[str], *, plugin: str | None = None) -> None:
        super().__init__("\n".join(errors), plugin=plugin)
        self.errors = tuple(errors)


class PluginLoadError(BackworksError):
    """A file cannot be loaded as a plugin. The base of the reasons.

    Attributes:
        path: The file, as it was asked for.
    """

    def __init__(self, message: str, *, path: str | Path, plugin: str | None = None) -> None:
        super().__init__(message, plugin=plugin)
        self.path = str(path)


class PluginNotFound(PluginLoadError):
    """There is no such file, or it is not a file."""


class NotALibraryError(PluginLoadError):
    """The file is not a complete ELF, Mach-O or PE shared library."""


class WrongPlatformError(PluginLoadError):
    """The library was built for another operating system or processor."""


class MissingSymbolsError(PluginLoadError):
    """The library lacks functions that every plugin exports.

    Attributes:
        symbols: The names of the missing functions.
    """

    def __init__(self, message: str, *, path: str | Path, symbols: Iterable[str], plugin: str | None = None) -> None:
        super().__init__(message, path=path, plugin=plugin)
        self.symbols = tuple(symbols)


class AbiVersionError(PluginLoadError):
    """The library speaks another version of the ABI.

    Attributes:
        found: The version of the library.
        wanted: The version of this host.
    """

    def __init__(self, message: str, *, path: str | Path, found: int, wanted: int, plugin: str | None = None) -> None:
        super().__init__(message, path=path, plugin=plugin)
        self.found = found
        self.wanted = wanted


class IdentityError(PluginLoadError):
    """The library's functions return no name or no version that could be used."""


class ManifestError(PluginLoadError):
    """The manifest cannot be read, or says something else than the library."""


class IsolationError(PluginLoadError):
    """The manifest says that the library must not run where it was asked to, such as in the host's process."""


class LinkError(PluginLoadError):
    """The system's dynamic linker refuses the library, for instance because a dependency is missing."""


class PluginStateError(BackworksError):
    """The host was misused: a plugin was called after its close, or one that does not exist."""


class BuildError(BackworksError):
    """A plugin's project does not build; what the compiler says of it has been shown."""


class ToolNotFound(BuildError):
    """A compiler, or another tool that the project is built with, is not installed."""


class ListenError(BackworksError):
    """The server cannot listen at the address that it was told."""


class WorkerError(BackworksError):
    """A process of the server ended before it served."""


class PluginError(BackworksError):
    """A plugin answered with a code other than OK, or could not answer.

    Attributes:
        code: The :class:`Code`. A number that is not in the table is ``Code.UNKNOWN``.
        message: The plugin's own words; may be empty.
        http_status: The HTTP status that the plugin asked for, or ``None``.
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
    """The plugin refused to be initialised, usually because of its configuration."""


class PluginContractError(PluginError):
    """The plugin broke a rule of the ABI; its answer was thrown away."""

    def __init__(self, message: str, *, plugin: str | None = None) -> None:
        super().__init__(message, code=Code.INTERNAL, plugin=plugin)


class PluginCrashed(PluginError):
    """The plugin's worker process ended while it was at work; a call may or may not have had its effect.

    Attributes:
        signal: The name of the signal that ended it, such as ``"SIGSEGV"``, or ``None``.
        exit_code: What it ended with, if no signal ended it and that is known, or else ``None``.
        stderr: The last lines that it wrote to its standard error output.
        endpoint: The endpoint of the call that was in it, or ``None``.
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
    """The plugin takes no calls now.

    Attributes:
        retry_after: Seconds after which a new try makes sense, or ``None`` where nobody knows.
    """

    def __init__(self, message: str, *, plugin: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, code=Code.UNAVAILABLE, plugin=plugin)
        self.retry_after = retry_after
