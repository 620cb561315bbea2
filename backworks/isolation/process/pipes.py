"""The host's ends of a worker's pipes, and the start of a worker with them on Linux, macOS and similar systems."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Pipes", "launch"]


class Pipes(NamedTuple):
    """The host's ends of a worker's pipes."""

    requests: int
    replies: int
    stderr: int
    log: int

    def close(self) -> None:
        """Closes them all."""
        for descriptor in self:
            os.close(descriptor)


def launch(
    program: Path, options: Sequence[str], descriptors: Sequence[int], environment: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], Pipes]:
    """Starts the worker program in a new session, with new pipes.

    Args:
        program: The program.
        options: Its options, except the one for the log.
        descriptors: The descriptors that it inherits in addition to its pipes.
        environment: Its complete environment.

    Raises:
        OSError: The program cannot be started.
    """
    with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
        ends = []
        for host_writes in (True, False, False, False):
            reading, writing = os.pipe()
            mine, other = (writing, reading) if host_writes else (reading, writing)
            ours.callback(os.close, mine)
            theirs.callback(os.close, other)
            os.set_blocking(mine, False)
            ends.append((mine, other))
        requests, replies, stderr, log = (other for _, other in ends)
        process = subprocess.Popen(  # noqa: S603  # it is our own program
            [program, "--log", str(log), *options],
            stdin=requests,
            stdout=replies,
            stderr=stderr,
            pass_fds=(log, *descriptors),
            env=environment,
            start_new_session=True,
        )
        ours.pop_all()
    return process, Pipes(*(mine for mine, _ in ends))
