"""The plugin leaves process-wide state alone, and nothing behind."""

from __future__ import annotations

import ctypes
import locale
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backworks.authoring.conformance.catalogue import check
from backworks.authoring.conformance.results import Failed, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backworks.authoring.conformance.subject import Subject

_LAW = "A library must leave process-wide state alone"
_LEFT = "After the last shutdown, no thread, child process or descriptor of the library may remain"
#: Seconds that threads and processes may take to end.
_GRACE = 1.0


def _phases(subject: Subject) -> Iterator[str]:
    """Opens the library, then creates, calls and shuts down an instance; yields after each step."""
    subject.open()
    yield "opening the library"
    instance = subject.start()
    yield "init"
    for request in subject.requests:
        instance.call(request)
        yield str(request)
    instance.shutdown()
    yield "shutdown"


def _same(subject: Subject, look: Callable[[], Any], what: str) -> str:
    """Compares a part of the process's state before, and after each phase."""
    before = look()
    count = 0
    for phase in _phases(subject):
        count += 1
        if (now := look()) != before:
            raise Failed(f"{what} was {before} before and is {now} after {phase}", f"{what} unchanged")
    return f"{what} is {str(before)[:60]}, unchanged in {count} steps from opening to shutdown"


def _posix(what: str) -> None:
    if sys.platform == "win32":
        raise Skipped(f"{what}: checked only on POSIX systems")


def _linux(what: str) -> None:
    if sys.platform != "linux":
        raise Skipped(f"{what}: checked only on Linux, through /proc")


@check("hygiene", _LAW)
def stdout_untouched(subject: Subject) -> str:
    """The plugin writes nothing to stdout, which belongs to the host."""

    def look() -> bytes:
        if sys.platform != "win32":
            ctypes.CDLL(None).fflush(None)
        # Descriptor 1 is this file, unless the plugin has replaced it.
        return subject.stdout.read_bytes()[:200]

    for phase in _phases(subject):
        if text := look():
            raise Failed(f"{phase} wrote {text!r} to stdout", "output through host->log() or to stderr")
    return "nothing written"


@check("hygiene", _LAW)
def working_directory(subject: Subject) -> str:
    """The working directory stays unchanged."""
    return _same(subject, _cwd, "the working directory")


def _cwd() -> str:
    try:
        return str(Path.cwd())
    except OSError as error:
        return f"deleted ({error})"


@check("hygiene", _LAW)
def environment(subject: Subject) -> str:
    """The environment stays unchanged."""
    _posix("the C environment")
    before = _environment()
    for phase in _phases(subject):
        now = _environment()
        if now != before:
            changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
            raise Failed(
                f"{phase} changed the environment: {b', '.join(changed[:6]).decode('utf-8', 'replace')}",
                "the environment unchanged; settings belong in the plugin's configuration",
            )
    return f"{len(before)} variables unchanged"


def _environment() -> dict[bytes, bytes]:
    environ = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
    found: dict[bytes, bytes] = {}
    number = 0
    address = ctypes.cast(environ, ctypes.c_void_p).value
    while address and (entry := environ[number]) is not None:
        name, _, value = entry.partition(b"=")
        found[name] = value
        number += 1
    return found


@check("hygiene", _LAW)
def locale_untouched(subject: Subject) -> str:
    """The locale stays unchanged."""
    before = _locale()
    for phase in _phases(subject):
        changed = {name: value for name, value in _locale().items() if value != before[name]}
        if changed:
            listed = ", ".join(f"{name} from {before[name]!r} to {value!r}" for name, value in changed.items())
            raise Failed(f"{phase} changed {listed}", "the locale unchanged")
    return ", ".join(f"{name} is {value!r}" for name, value in before.items())


def _locale() -> dict[str, str]:
    names = ("LC_CTYPE", "LC_COLLATE", "LC_MONETARY", "LC_NUMERIC", "LC_TIME")
    return {name: locale.setlocale(getattr(locale, name)) for name in names}


@check("hygiene", _LAW)
def umask_untouched(subject: Subject) -> str:
    """The umask stays unchanged."""
    _posix("the umask")
    return _same(subject, _umask, "the umask")


def _umask() -> str:
    mask = os.umask(0o22)
    os.umask(mask)
    return f"{mask:03o}"


@check("hygiene", _LAW, in_process=True)
def signals_untouched(subject: Subject) -> str:
    """The plugin changes no signal handler, and blocks no signal."""
    _posix("the signal handlers")
    before = _handlers()
    for phase in _phases(subject):
        now = _handlers()
        changed = [name for name in before if before[name] != now.get(name)]
        if changed:
            raise Failed(f"{phase} changed {', '.join(changed)}", "signals unchanged: they belong to the host")
    return f"{len(before) - 1} signals unchanged"


def _handlers() -> dict[str, bytes]:
    libc = ctypes.CDLL(None)
    found = {"the mask of blocked signals": repr(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))).encode()}
    for each in signal.valid_signals():
        action = ctypes.create_string_buffer(512)  # larger than any struct sigaction, which begins with the handler
        if libc.sigaction(int(each), None, action) == 0:
            handler = action.raw[: ctypes.sizeof(ctypes.c_void_p)]
            found[getattr(each, "name", f"signal {each}")] = handler
    return found


@check("hygiene", _LAW)
def float_mode(subject: Subject) -> str:
    """The floating-point mode stays unchanged: rounding to nearest, without flush to zero."""
    return _same(subject, _float_mode, "the floating-point mode")


def _float_mode() -> str:
    smallest, one, small = sys.float_info.min, 1.0, 1e-30
    tiny = "subnormal numbers flushed to zero" if smallest / 4 == 0.0 else "subnormal numbers kept"
    up, down = one + small > one, one - small < one
    rounding = "to nearest" if not up and not down else "upwards" if up else "downwards or to zero"
    return f"{tiny}, rounding {rounding}"


@check("hygiene", _LEFT, in_process=True)
def descriptors(subject: Subject) -> str:
    """After shutdown the same descriptors are open as before: none is leaked, and none of the host's is closed."""
    _linux("open descriptors")
    before = _descriptors()
    for _ in _phases(subject):
        pass
    now = _descriptors()
    for found, verb in ((now - before, "left open"), (before - now, "closed or replaced")):
        if found:
            listed = ", ".join(f"{number} ({target})" for number, target in sorted(found)[:4])
            raise Failed(f"after shutdown, descriptors are {verb}: {listed}", "the same open descriptors as before")
    return f"{len(before)} descriptors before and after"


def _descriptors() -> set[tuple[int, str]]:
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  # Path.iterdir opens one more itself
        try:
            found.add((int(name), os.readlink(f"/proc/self/fd/{name}")))  # noqa: PTH115  # as above
        except OSError:
            continue  # the descriptor of the listing itself
    return found


@check("hygiene", "Stops the threads that the instance started", in_process=True)
def threads_left(subject: Subject) -> str:
    """After shutdown no thread remains that was not there before."""
    _linux("running threads")
    before = _threads()
    for _ in _phases(subject):
        pass
    left = _gone(lambda: {tid: name for tid, name in _threads().items() if tid not in before})
    if left:
        names = ", ".join(sorted(left.values()))
        raise Failed(
            f"{len(left)} threads still run a second after shutdown: {names}",
            "all threads stopped and joined by shutdown",
        )
    return f"{len(before)} threads before and after"


def _threads() -> dict[str, str]:
    found = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            found[task.name] = (task / "comm").read_text("utf-8", "replace").strip()
        except OSError:
            continue  # it has just exited
    return found


@check("hygiene", _LEFT)
def children_left(subject: Subject) -> str:
    """After shutdown no child or descendant process remains, running or unreaped."""
    _posix("child processes")
    for _ in _phases(subject):
        pass
    left = _gone(_children)
    if left:
        raise Failed(
            f"a second after shutdown there is still {left}", "all child processes ended and reaped by shutdown"
        )
    return "none"


def _children() -> str:
    """Describes the children of this process. On Linux it also adopts orphans, so that daemons count."""
    if sys.platform == "linux":
        try:
            text = Path("/proc/self/task", str(os.getpid()), "children").read_text("ascii")
        except OSError:
            text = ""
        if text.split():
            return f"the child process {', '.join(text.split())}"
    try:
        pid = os.waitpid(-1, os.WNOHANG)[0]
    except ChildProcessError:
        return ""
    return "a running child process" if pid == 0 else f"the child process {pid}, which exited but was not reaped"


def _gone(look: Callable[[], Any]) -> Any:
    """Polls until nothing is left or the time is over; returns what is left."""
    end = time.monotonic() + _GRACE
    while (found := look()) and time.monotonic() < end:
        time.sleep(0.01)
    return found


@check("hygiene", "exit, or let a panic cross the boundary", exits=True)
def exits_clean(subject: Subject) -> str:
    """A process with the plugin exits cleanly, through exit handlers and destructors."""
    for _ in _phases(subject):
        pass
    return "the process exited with code 0"
