"""The animals of ``tests/zoo``: what each does when it is told to bite, and what the host makes of it.

The table is the whole of what is expected; ``test_zoo.py`` asks it in different ways.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
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
    """One plugin and what is expected of a call that has it bite.

    Attributes:
        name: Its file in ``tests/zoo``, without the ending.
        answer: What the call answers, or ``None`` where it fails.
        error: What the call raises otherwise.
        says: A pattern that the text of the error has.
        status: The HTTP status.
        log: A pattern that a record of its logger has; ``None`` where nothing is promised.
        recovers: Whether the next call is answered, whatever came before. If not, it may be refused with a reason.
        hangs: Whether the call has to be ended by its deadline.
    """

    name: str
    answer: str | None = None
    error: type[BackworksError] | None = None
    says: str = ""
    status: int = 200
    log: str | None = None
    recovers: bool = True
    hangs: bool = False

    @property
    def plugin(self) -> str:
        """What it calls itself."""
        return self.name.replace("_", "-")

    def __str__(self) -> str:
        return self.name


def _crash(name: str, how: str | signal.Signals, **more: object) -> Animal:
    text = how.name if isinstance(how, signal.Signals) else how
    return Animal(name, None, PluginCrashed, text, 502, text, **more)  # type: ignore[arg-type]


def _hang(name: str) -> Animal:
    return Animal(name, None, PluginTimeout, "0.3 s", 504, hangs=True)


def _broken(name: str, says: str, **more: object) -> Animal:
    return Animal(name, None, PluginContractError, says, 502, **more)  # type: ignore[arg-type]


BITING = [
    _crash("segfault", signal.SIGSEGV),
    _crash("aborts", signal.SIGABRT),
    _crash("stack_overflow", signal.SIGSEGV),
    _crash("illegal_instruction", signal.SIGILL),
    _crash("exits", "code 0"),
    _crash("exits_in_thread", "code 7"),
    _crash("kills_group", signal.SIGKILL),
    _crash("crashes_with_child", signal.SIGABRT),
    _crash("crashes_with_daemon", signal.SIGABRT),
    _crash("points_nowhere", signal.SIGSEGV),
    _crash("freed_twice", signal.SIGABRT),
    _crash("throws", signal.SIGABRT),
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
    _crash("replaces_itself", signal.SIGABRT),
    Animal("truncates_itself", "cut", recovers=False),
    # What becomes of these depends on the channel: a mailbox is no descriptor.
    Animal("closes_descriptors", "closed", recovers=False),
    Animal("garbage_everywhere", "littered", recovers=False),
    Animal("reads_everything", "read", recovers=False),
]

#: Those that bite when they are loaded: ``error`` is what that raises.
AT_START = [
    _crash("crashes_at_dlopen", signal.SIGSEGV),
    _crash("crashes_in_constructor", signal.SIGABRT),
    _crash("crashes_in_init", signal.SIGABRT),
    Animal("slow_init", None, PluginTimeout, "init|start", 503, hangs=True),
]

#: Those that bite when they are closed: ``log`` is what is said of it.
AT_END = [
    Animal("hanging_shutdown", "tame", hangs=True, log="shutdown|shut down"),
    Animal("crashes_in_shutdown", "tame", log="SIGABRT"),
    Animal("hanging_destructor", "tame", hangs=True),
]


def build(cc: Sequence[str], directory: Path, animals: Iterable[Animal]) -> dict[str, Path]:
    """Compiles animals into a directory, several at a time, and returns their libraries by their names."""

    def compiled(animal: Animal) -> Path:
        library = directory / LIBRARY.format(animal.name)
        source = ZOO / f"{animal.name}.c"
        command = [*cc, "-std=c11"]
        if not source.exists():
            source = source.with_suffix(".cpp")
            command = [_cxx(), "-std=c++17"]
        command += ["-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", "-shared", "-fPIC", "-pthread"]
        subprocess.run([*command, f"-I{sdk.path('c')}", source, "-o", library, "-ldl"], check=True)
        return library

    with ThreadPoolExecutor(2) as pool:
        wanted = list(animals)
        return dict(zip((animal.name for animal in wanted), pool.map(compiled, wanted), strict=True))


def _cxx() -> str:
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return name
    return missing("a C++ compiler (c++, g++ or clang++)")
