"""What the command ends with: exit codes, and exceptions as lines on stderr."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from backworks.errors import BackworksError, BuildError, ConfigError, PluginError, ToolNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "BAD_CONFIG",
    "BROKEN_PIPE",
    "CANNOT_LOAD",
    "INTERRUPTED",
    "NOT_BUILT",
    "NO_TOOL",
    "OK",
    "PLUGIN_SAID_NO",
    "WRONG_USE",
    "ReportingGroup",
    "complain",
    "exit_code",
]

OK = 0
#: A plugin answered with an error, or "not mine".
PLUGIN_SAID_NO = 1
#: As click has it.
WRONG_USE = 2
BAD_CONFIG = 3
#: A file cannot be loaded as a plugin, the server cannot listen, or one of its processes does not start.
CANNOT_LOAD = 4
#: A compiler, or the project, says why; and a compiler, or another tool, is not installed.
NOT_BUILT = 5
NO_TOOL = 6
#: As shells have it for a process that a signal ended: 128 and the number of SIGINT, of SIGPIPE.
INTERRUPTED = 130
BROKEN_PIPE = 141


def exit_code(error: BackworksError) -> int:
    """Returns what the command ends with after this error."""
    if isinstance(error, ConfigError):
        return BAD_CONFIG
    if isinstance(error, BuildError):
        return NO_TOOL if isinstance(error, ToolNotFound) else NOT_BUILT
    return PLUGIN_SAID_NO if isinstance(error, PluginError) else CANNOT_LOAD


def complain(lines: Iterable[str]) -> None:
    """Writes lines to stderr, each with the command's name before it."""
    for line in lines:
        click.echo(f"backworks: {line}", err=True)


class ReportingGroup(click.Group):
    """Commands whose foreseen errors are lines without a traceback; others keep theirs."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command and ends the process as this module says."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BackworksError as error:
            complain(error.errors if isinstance(error, ConfigError) else str(error).splitlines())
            ctx.exit(exit_code(error))
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            # Whoever read our output has seen enough. Python would complain once more when it ends and flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(BROKEN_PIPE)
        return result
