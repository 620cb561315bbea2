"""The animals of ``tests/zoo``: what each does when it is told to bite, and what the host must report.

The table holds all expectations; ``test_zoo.py`` checks them in several ways.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from conftest import LIBRARY, missing

from backworks import PluginContractError, PluginCrashed, PluginError, PluginTimeout, sdk
from backworks.errors import BackworksError

__all__ = ["AT_END", "AT_START", "BITING", "ZOO", "Animal", "build"]

ZOO = Path(__file__).parent / "zoo"


@dataclass(frozen=True)
class Animal:
    """One plugin, and the expected result of a call that makes it bite.

    Attributes:
        name: Its file in ``tests/zoo``, without the suffix.
        answer: The data that the call returns, or ``None`` if it fails.
        error: The exception that the call raises otherwise.
        message: A pattern that the error's message matches.
        status: The HTTP status.
        log: A pattern that a record of the plugin's logger matches; ``None`` if none is guaranteed.
        recovers: Whether the next call always succeeds. If not, it may be rejected with a reason.
        hangs: Whether only the deadline ends the call.
    """

    name: str
    answer: str | None = None
    error: type[BackworksError] | None = None
    message: str = ""
    status: int = 200
    log: str | None = None
    recovers: bool = True
    hangs: bool = False

    @property
    def plugin(self) -> str:
        """The plugin's own name."""
        return self.name.replace("_", "-")

    def __str__(self) -> str:
        return self.name


#: The Windows descriptions of exits that are signals elsewhere.
_EXCEPTIONS = {
    "SIGABRT": "stack buffer overrun or abort",
    "SIGILL": "illegal instruction",
    "SIGSEGV": "access violation",
}


def _crash(name: str, how: str, windows: str | None = None, **more: object) -> Animal:
    text = how if sys.platform != "win32" else windows or _EXCEPTIONS.get(how, how)
    return Animal(name, None, PluginCrashed, text, 502, text, **more)  # type: ignore[arg-type]


def _hang(name: str) -> Animal:
    return Animal(name, None, PluginTimeout, "no answer within", 504, hangs=True)


def _broken(name: str, message: str, **more: object) -> Animal:
    return Animal(name, None, PluginContractError, message, 502, **more)  # type: ignore[arg-type]


#: Animals that also exist on Windows. The others fork, send signals or modify their file.
_PORTABLE = {
    "segfault",
    "aborts",
    "stack_overflow",
    "illegal_instruction",
    "exits",
    "points_nowhere",
    "freed_twice",
    "throws",
    "endless_loop",
    "sleeps",
    "claims_10_gib",
    "large_answer",
    "null_with_size",
    "bad_headers",
    "eats_memory",
    "prints",
    "floods_stderr",
    "floods_log",
    "crashes_in_constructor",
    "crashes_in_init",
    "slow_init",
    "hanging_shutdown",
    "crashes_in_shutdown",
    "hanging_destructor",
}


def _here(animals: list[Animal]) -> list[Animal]:
    return [animal for animal in animals if sys.platform != "win32" or animal.name in _PORTABLE]


BITING = _here(
    [
        _crash("segfault", "SIGSEGV"),
        _crash("aborts", "SIGABRT"),
        _crash("stack_overflow", "SIGSEGV", "stack overflow"),
        _crash("illegal_instruction", "SIGILL"),
        _crash("exits", "code 0"),
        _crash("exits_in_thread", "code 7"),
        _crash("kills_group", "SIGKILL"),
        _crash("crashes_with_child", "SIGABRT"),
        _crash("crashes_with_daemon", "SIGABRT"),
        _crash("points_nowhere", "SIGSEGV"),
        _crash("freed_twice", "SIGABRT", "heap corruption|abort"),
        _crash("throws", "SIGABRT"),
        _hang("endless_loop"),
        _hang("deaf_loop"),
        _hang("sleeps"),
        _hang("stops_itself"),
        _hang("half_a_frame"),
        _broken("claims_10_gib", "10737418240"),
        _broken("large_answer", "100663296"),
        _broken("null_with_size", "NULL"),
        _broken("bad_headers", "header"),
        Animal("eats_memory", None, PluginError, r"RESOURCE_EXHAUSTED: no memory after \d+ MiB", 429, recovers=False),
        Animal("fork_bomb", "boom"),
        Animal("leaves_child", "born"),
        Animal("leaves_daemon", "born"),
        Animal("prints", "printed", log="goodbye from stdout"),
        Animal("floods_stderr", "flooded", log="f{63}"),
        Animal("floods_log", "logged", log="record 99 "),
        Animal("changes_process", "changed"),
        Animal("scribbles", "scribbled", recovers=False),
        _crash("replaces_itself", "SIGABRT"),
        Animal("truncates_itself", "cut", recovers=False),
        # The result depends on the channel: a mailbox is not a descriptor.
        Animal("closes_descriptors", "closed", recovers=False),
        Animal("garbage_everywhere", "littered", recovers=False),
        Animal("reads_everything", "read", recovers=False),
    ]
)

#: Animals that bite when they are loaded; ``error`` is what loading raises.
AT_START = _here(
    [
        _crash("crashes_at_dlopen", "SIGSEGV"),
        _crash("crashes_in_constructor", "SIGABRT"),
        _crash("crashes_in_init", "SIGABRT"),
        Animal("slow_init", None, PluginTimeout, "init|start", 503, hangs=True),
    ]
)

#: Animals that bite when they are closed; ``log`` is what the plugin's logger reports.
AT_END = _here(
    [
        Animal("hanging_shutdown", "tame", hangs=True, log="shutdown|shut down"),
        Animal("crashes_in_shutdown", "tame", log="SIGABRT" if sys.platform != "win32" else _EXCEPTIONS["SIGABRT"]),
        Animal("hanging_destructor", "tame", hangs=True),
    ]
)


def build(cc: Sequence[str], directory: Path, animals: Iterable[Animal]) -> dict[str, Path]:
    """Compiles animals into a directory, several at a time, and returns their libraries by name."""

    def compiled(animal: Animal) -> Path:
        library = directory / LIBRARY.format(animal.name)
        source = ZOO / f"{animal.name}.c"
        command = [*cc, "-std=c11"]
        if not source.exists():
            source = source.with_suffix(".cpp")
            command = [_cxx(), "-std=c++17"]
        command += ["-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", "-shared"]
        libraries = ["-fPIC", "-pthread", "-ldl"] if sys.platform != "win32" else []
        subprocess.run([*command, f"-I{sdk.path('c')}", source, "-o", library, *libraries], check=True)
        return library

    with ThreadPoolExecutor(2) as pool:
        wanted = list(animals)
        return dict(zip((animal.name for animal in wanted), pool.map(compiled, wanted), strict=True))


def _cxx() -> str:
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return name
    return missing("a C++ compiler")
