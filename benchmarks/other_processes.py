"""Peers that call another process: :mod:`multiprocessing` and gRPC. Each echoes its input.

Run as a program, this module is the other process: ``pipe DESCRIPTOR`` or ``grpc ADDRESS``.
"""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent import futures
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks import ROOT

__all__ = ["by_grpc", "by_multiprocessing"]

_METHOD = "/echo.Echo/Echo"
#: By default gRPC rejects messages above 4 MiB.
_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


def by_multiprocessing(stack: ExitStack) -> Callable[[bytes], bytes]:
    """Starts a Python process at the other end of a ``multiprocessing.Pipe``; the stack stops it."""
    here, there = multiprocessing.Pipe()
    with there:
        descriptor = there.fileno()
        other = _start("pipe", str(descriptor), pass_fds=(descriptor,))
    stack.callback(other.wait)
    stack.callback(here.close)
    send, receive = here.send_bytes, here.recv_bytes

    def call(data: bytes) -> bytes:
        send(data)
        return receive()

    call(b"")
    return call


def _echo(descriptor: str) -> None:
    pipe = Connection(int(descriptor))
    try:
        while True:
            pipe.send_bytes(pipe.recv_bytes())
    except EOFError:
        pass


def by_grpc(stack: ExitStack) -> Callable[[bytes], bytes]:
    """Starts a gRPC server in Python on a unix socket, with raw bytes as messages; the stack stops it."""
    import grpc

    directory = stack.enter_context(tempfile.TemporaryDirectory())
    address = f"unix:{Path(directory, 'echo')}"
    server = _start("grpc", address)
    stack.callback(server.wait)
    stack.callback(server.kill)
    channel = stack.enter_context(grpc.insecure_channel(address, options=_OPTIONS))
    call: Callable[..., bytes] = channel.unary_unary(_METHOD)
    call(b"", wait_for_ready=True, timeout=30)
    return call


def _serve(address: str) -> None:
    import grpc

    def answer(request: bytes, _context: Any) -> bytes:
        return request

    handlers = grpc.method_handlers_generic_handler("echo.Echo", {"Echo": grpc.unary_unary_rpc_method_handler(answer)})
    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=(handlers,), options=_OPTIONS)
    server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


def _start(*arguments: str, pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    """Runs this file as a program; a child that multiprocessing spawns would inherit :data:`sys.path`."""
    command = (sys.executable, "-m", "benchmarks.other_processes", *arguments)
    return subprocess.Popen(command, cwd=ROOT, pass_fds=pass_fds)


if __name__ == "__main__":
    {"pipe": _echo, "grpc": _serve}[sys.argv[1]](sys.argv[2])
