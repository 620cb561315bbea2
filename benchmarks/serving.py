"""Runs servers as separate processes on this machine, with wrk as their client."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from benchmarks import ROOT

__all__ = ["Load", "free_port", "python", "running"]

HERE = Path(__file__).resolve().parent
#: Seconds that a server may take to respond for the first time.
PATIENCE = 60


def free_port() -> int:
    """Returns a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def python(*arguments: str) -> list[str]:
    """Returns the command that runs this Python with arguments."""
    return [sys.executable, *arguments]


@contextmanager
def running(command: Sequence[str], port: int, path: str) -> Iterator[None]:
    """Runs a server during the block, which starts when the server responds; kills all its processes at the end."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        server = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, stdin=subprocess.DEVNULL
        )
        try:
            until = time.monotonic() + PATIENCE
            while not _answers(port, path):
                if server.poll() is not None or time.monotonic() > until:
                    output.seek(0)
                    raise RuntimeError(f"{' '.join(command)} does not respond:\n{output.read()[-2000:]}")
                time.sleep(0.002)
            yield
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, 9)
                server.wait()


def _answers(port: int, path: str) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 500
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


@dataclass
class Load:
    """Load from wrk, with one thread and several connections.

    Attributes:
        seconds: The duration of one measurement.
        connections: The number of concurrent connections.
        requests, errors: The totals so far; an error is a status above 399 or a failed socket.
    """

    seconds: int
    connections: int = 32
    requests: int = field(default=0, init=False)
    errors: int = field(default=0, init=False)

    def measure(self, port: int, path: str, *, post: bool = False) -> float:
        """Measures the requests per second."""
        options = ["-t1", f"-c{self.connections}", f"-d{self.seconds}s", *(["-s", str(HERE / "post.lua")] * post)]
        command = ["wrk", *options, f"http://127.0.0.1:{port}{path}"]
        return self.take(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)

    def take(self, output: str) -> float:
        """Adds up the counts in wrk's output; returns its requests per second."""
        rate = re.search(r"Requests/sec: +([\d.]+)", output)
        count = re.search(r"(\d+) requests in", output)
        if rate is None or count is None:
            raise ValueError(f"unexpected output of wrk:\n{output}")
        self.requests += int(count[1])
        self.errors += sum(int(number) for number in re.findall(r"(?:connect|read|write|timeout) (\d+)", output))
        if failed := re.search(r"Non-2xx or 3xx responses: (\d+)", output):
            self.errors += int(failed[1])
        return float(rate[1])

    def note(self) -> str:
        """Returns the totals as a sentence."""
        return f"Errors: {self.errors:,} in {self.requests:,} requests."
