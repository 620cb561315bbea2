"""Exit codes, and exceptions as lines on stderr."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from backworks.errors import BackworksError, BuildError, ConfigError, PluginError, ToolNotFound
from backworks.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "BAD_CONFIG",
    "BROKEN_PIPE",
    "BUILD_FAILED",
    "CANNOT_LOAD",
    "INTERRUPTED",
    "OK",
    "PLUGIN_FAILED",
    "TOOL_MISSING",
    "USAGE_ERROR",
    "ReportingGroup",
    "complain",
    "exit_code",
]

OK = 0
#: A plugin returned an error or no answer, or does not keep the ABI contract.
PLUGIN_FAILED = 1
#: The code that click uses.
USAGE_ERROR = 2
BAD_CONFIG = 3
#: A file cannot be loaded as a plugin, the server cannot listen, or one of the server's processes does not start.
CANNOT_LOAD = 4
#: The compiler reported an error, or the project is incomplete.
BUILD_FAILED = 5
#: A compiler or another tool is not installed.
TOOL_MISSING = 6
#: The codes that shells use for a process ended by a signal: 128 plus the number of SIGINT or SIGPIPE.
INTERRUPTED = 130
BROKEN_PIPE = 141


def exit_code(error: BackworksError) -> int:
    """Returns the exit code for an error."""
    if isinstance(error, ConfigError):
        return BAD_CONFIG
    if isinstance(error, BuildError):
        return TOOL_MISSING if isinstance(error, ToolNotFound) else BUILD_FAILED
    return PLUGIN_FAILED if isinstance(error, PluginError) else CANNOT_LOAD


def complain(lines: Iterable[str]) -> None:
    """Writes lines to stderr, each prefixed with the command's name."""
    for line in lines:
        click.echo(f"backworks: {printable(line)}", err=True)


#: The file is too large, or its disk is full or faulty.
_CANNOT_WRITE = (errno.EFBIG, errno.EIO, errno.ENOSPC)


class ReportingGroup(click.Group):
    """Reports expected errors as lines on stderr; unexpected errors keep their traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command, and exits with the code for its outcome."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BackworksError as error:
            complain(error.errors if isinstance(error, ConfigError) else str(error).splitlines())
            ctx.exit(exit_code(error))
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            _discard_output()
            ctx.exit(BROKEN_PIPE)
        except FileNotFoundError:
            if _has_directory():
                raise
            complain(["the current directory no longer exists; change to another one"])
            ctx.exit(USAGE_ERROR)
        except OSError as error:
            if error.filename is not None or error.errno not in _CANNOT_WRITE:
                raise
            _discard_output()
            complain([f"cannot write the output: {error.strerror}"])
            ctx.exit(PLUGIN_FAILED)
        return result


def _discard_output() -> None:
    """Keeps Python from reporting again, when it flushes stdout at exit, that it cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _has_directory() -> bool:
    try:
        os.getcwd()  # noqa: PTH109  # Path.cwd() is the same
    except FileNotFoundError:
        return False
    return True
