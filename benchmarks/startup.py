"""Startup times: ``python -m benchmarks.startup``."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from backworks import PluginDiscovery
from benchmarks import BUILD
from benchmarks.apps import configuration
from benchmarks.command import command
from benchmarks.contenders import library, optional, ours
from benchmarks.harness import Contender, Figure, Sample, interleave
from benchmarks.other_processes import by_multiprocessing
from benchmarks.serving import free_port, python, running

__all__ = ["copies", "figure"]

FOUND = (1, 10, 100, 1000)
STARTED = (1, 10, 100)

_FIRST_ANSWER = """
import sys, backworks
with backworks.load(sys.argv[1]) as plugin:
    plugin.process_endpoint_data("/", "POST", "x")
"""
_FIRST_ANSWER_CTYPES = """
import sys, ctypes
library = ctypes.CDLL(sys.argv[1])
library.plain_answer.restype, library.plain_free.argtypes = ctypes.c_void_p, (ctypes.c_void_p,)
size = ctypes.c_size_t()
answer = library.plain_answer(b"x", ctypes.c_size_t(1), ctypes.byref(size))
ctypes.string_at(answer, size.value).decode()
library.plain_free(answer)
"""
_FIRST_ANSWER_WASMTIME = """
import sys
from wasmtime import Engine, Instance, Module, Store
store = Store(Engine())
exports = Instance(store, Module.deserialize_file(store.engine, sys.argv[1]), []).exports(store)
where = exports["room"](store, 1)
exports["memory"].write(store, b"x", where)
answer = exports["echo"](store, where, 1)
exports["memory"].read(store, answer, answer + 1).decode()
"""
_FIRST_ANSWER_EXTISM = """
import sys, extism
bytes(extism.Plugin(open(sys.argv[1], "rb").read()).call("echo", b"x"))
"""
_START = """
import sys, time
from backworks import PluginManager
import backworks.config.plugins, backworks.starting, backworks.ffi, backworks.isolation.channels.process
backworks.ffi.binding()
start = time.perf_counter()
manager = PluginManager.from_config(sys.argv[1])
if sys.argv[2] == "answer":
    for plugin in manager.plugins.values():
        plugin.process_endpoint_data("/", "POST", "x")
print((time.perf_counter() - start) * 1e3)
manager.close()
"""


def run(*command: str) -> float:
    """Runs a process; returns the milliseconds from its start to its end."""
    start = time.perf_counter()
    subprocess.run(command, cwd=BUILD, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1e3


def copies(directory: Path, count: int) -> Path:
    """Fills a directory with a number of plugins with different names, each a separate library; returns it."""
    original = library("echo")
    code = original.read_bytes()
    for number in range(count):
        # The name occurs in the manifest and in the text of backworks_plugin_name; old and new have four letters.
        name = f"p{number:03}".encode()
        changed = code.replace(b'"echo"', b'"' + name + b'"').replace(b"\0echo\0", b"\0" + name + b"\0")
        (directory / f"lib{name.decode()}{original.suffix}").write_bytes(changed)
    return directory


def _processes(rounds: int) -> dict[str, Sample]:
    backworks = str(Path(sys.executable).with_name("backworks"))
    plugin = str(library("echo"))
    ours: dict[str, Callable[[], float]] = {
        "python -c pass": partial(run, *python("-c", "pass")),
        "Backworks: import": partial(run, *python("-c", "import backworks")),
        "Backworks: --version": partial(run, backworks, "--version"),
        "Backworks: first answer": partial(run, *python("-c", _FIRST_ANSWER, plugin)),
        "Backworks: serve, first answer": _serve,
    }
    peers: dict[str, Callable[[], float]] = {
        "ctypes: first answer": partial(run, *python("-c", _FIRST_ANSWER_CTYPES, plugin)),
        "Extism: first answer": partial(run, *python("-c", _FIRST_ANSWER_EXTISM, str(BUILD / "echo.wasm"))),
        "wasmtime: first answer": partial(run, *python("-c", _FIRST_ANSWER_WASMTIME, str(BUILD / "echo.cwasm"))),
        "import cffi": partial(run, *python("-c", "import cffi")),
        "import fastapi": partial(run, *python("-c", "import fastapi")),
        "FastAPI on uvicorn, first answer": _fastapi,
    }
    with optional("modules of Extism and wasmtime"):
        _compile_modules()
    contenders = [Contender(name, measure) for name, measure in ours.items()]
    for name, measure in peers.items():
        with optional(name):
            measure()
            contenders.append(Contender(name, measure))
    return interleave(contenders, rounds)


def _compile_modules() -> None:
    """Writes the module for Extism, which caches compiled code itself, and the compiled one for wasmtime."""
    from wasmtime import Engine, Module, wat2wasm

    texts = Path(__file__).parent / "peers"
    (BUILD / "echo.wasm").write_bytes(wat2wasm((texts / "extism_echo.wat").read_text()))
    module = Module(Engine(), (texts / "wasmtime_echo.wat").read_text())
    (BUILD / "echo.cwasm").write_bytes(module.serialize())


def _until_answer(line: list[str], port: int) -> float:
    start = time.perf_counter()
    with running(line, port, "/constant"):
        return (time.perf_counter() - start) * 1e3


def _serve() -> float:
    port = free_port()
    file = BUILD / "serve.yaml"
    file.write_text(json.dumps(configuration("none", "request")))
    return _until_answer(python("-P", "-m", "backworks", "serve", str(file), "--port", str(port)), port)


def _fastapi() -> float:
    port = free_port()
    options = ("--factory", "--log-level", "warning", "--port", str(port))
    return _until_answer(python("-m", "uvicorn", *options, "benchmarks.apps:fastapi_ctypes"), port)


def _first_call(make: Callable[[ExitStack], Callable[[bytes], object]]) -> float:
    """Starts another process; returns the milliseconds until its first answer, without the imports of this one."""
    with ExitStack() as stack:
        start = time.perf_counter()
        make(stack)(b"x")
        return (time.perf_counter() - start) * 1e3


def _worker(stack: ExitStack) -> Callable[[bytes], object]:
    plugin = stack.enter_context(ours("echo", isolation="process", workers=1))
    return partial(plugin.process_endpoint_data, "/", "POST")


def _discover(directory: Path, count: int) -> float:
    start = time.perf_counter()
    found = PluginDiscovery([directory]).scan()
    taken = (time.perf_counter() - start) * 1e3
    if len({plugin.name for plugin in found if plugin.loadable}) != count:
        raise RuntimeError(f"found {len(found)} plugins, not {count}")
    return taken


def _start(config: Path, what: str) -> float:
    done = subprocess.run(python("-P", "-c", _START, str(config), what), cwd=BUILD, check=True, stdout=subprocess.PIPE)
    return float(done.stdout)


def figure(quick: bool) -> Figure:
    """Measures the figure."""
    rounds = 3 if quick else 15
    groups = {"a process": _processes(rounds)}
    others: dict[str, Callable[[ExitStack], Callable[[bytes], object]]] = {
        "Backworks: a worker, first answer": _worker,
        "multiprocessing: a process, first answer": by_multiprocessing,
    }
    groups["another process"] = interleave(
        [Contender(name, partial(_first_call, make)) for name, make in others.items()], rounds
    )
    with ExitStack() as stack:
        found, started = [], []
        for count in FOUND:
            directory = copies(Path(stack.enter_context(tempfile.TemporaryDirectory(dir=BUILD))), count)
            found.append(Contender(f"Backworks: discovery of {count:,}", partial(_discover, directory, count)))
            if count in STARTED:
                plugins = {file.stem[3:]: {"path": str(file), "isolation": "none"} for file in directory.iterdir()}
                config = directory / "config.yaml"
                config.write_text(json.dumps({"plugins": plugins}))
                started.append(Contender(f"Backworks: start of {count}", partial(_start, config, "start")))
                started.append(
                    Contender(f"Backworks: start of {count}, an answer of each", partial(_start, config, "answer"))
                )
        groups["discovery, by the number of plugins"] = interleave(found, rounds)
        groups["start, by the number of plugins"] = interleave(started, rounds)
    return Figure(
        "startup",
        "Startup times in milliseconds, lower is better",
        "ms",
        groups,
        (
            "python -c pass",
            "multiprocessing: a process, first answer",
            "Backworks: discovery of 1",
            "Backworks: start of 1",
        ),
        (
            "A process is timed from outside, from its start to its end; a server, until its first response.",
            (
                "Each plugin is a separate library, in the system's cache. Each start is timed inside a new process, "
                "from reading the configuration to the last plugin, without the imports."
            ),
        ),
    )


if __name__ == "__main__":
    sys.exit(command(figure))
