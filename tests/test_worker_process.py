"""The worker program as a process: startup, limits and exit, as specified in native/wire/PROTOCOL.md."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import resource
import select
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ECHO, CompilePlugin, missing

if sys.platform == "win32":
    pytest.skip("the driver of these tests passes descriptors on, which Windows has none of", allow_module_level=True)

import pty

from sources import WORKER
from worker_driver import CALL, PATIENCE, PROGRAM, REFUSED, SHUTDOWN, START, Answer, Worker, answer, call, start

from backworks import sdk

ROOT = Path(__file__).resolve().parent.parent

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
unsanitized = pytest.mark.skipif("ASAN_OPTIONS" in os.environ, reason="a sanitizer changes signals and memory")

#: A plugin that does to its process what the endpoint names; the data is the argument.
WILD = r"""
#define _GNU_SOURCE
#include <backworks_plugin.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

BACKWORKS_PLUGIN("wild", "1.0.0", "description": "Harms its process on request")
BACKWORKS_PLUGIN_FREE_STRING

struct backworks_plugin { int unused; };
static backworks_plugin plugin;
static int hang_at_exit;
extern char **environ;

__attribute__((destructor)) static void hang(void) {
  while (hang_at_exit) {
    pause();
  }
}

#ifdef HANG
__attribute__((constructor)) static void loop(void) {
  for (;;) {
    pause();
  }
}
#endif

int32_t backworks_plugin_init(const backworks_host *host, const char *config, size_t config_size,
                              backworks_plugin **out, backworks_response *error) {
  (void)host;
  (void)config;
  (void)config_size;
  (void)error;
  *out = &plugin;
  return BACKWORKS_OK;
}

int32_t backworks_plugin_shutdown(backworks_plugin *self) {
  (void)self;
  return BACKWORKS_OK;
}

static pid_t child(int leaves, int twice) {
  pid_t pid = fork();
  if (pid == 0) {
    if (leaves) {
      (void)setsid();
    }
    if (twice && (pid = fork()) != 0) {
      _exit(0);
    }
    for (;;) {
      pause();
    }
  }
  return pid;
}

__attribute__((noinline)) static int deep(volatile char *above) {
  volatile char here[4096];
  here[0] = above[0];
  return deep(here) + here[0];
}

static int32_t say(backworks_response *response, const char *text) {
  return backworks_answer(response, text, strlen(text));
}

int32_t backworks_plugin_process_endpoint_data(backworks_plugin *self, const backworks_request *request,
                                               backworks_response *response) {
  char what[64], text[16000] = "";
  int number = 0, i;
  (void)self;
  (void)snprintf(what, sizeof what, "%.*s", (int)request->endpoint_size, request->endpoint);
  for (i = 0; i < (int)request->data_size; i++) {
    number = number * 10 + request->data[i] - '0';
  }
  if (strcmp(what, "descriptors") == 0) {
    for (i = 0; i < 10000; i++) {
      if (fcntl(i, F_GETFD) >= 0) {
        (void)sprintf(text + strlen(text), "%d:%d ", i, fcntl(i, F_GETFD) & FD_CLOEXEC);
      }
    }
  } else if (strcmp(what, "environment") == 0) {
    for (i = 0; environ[i] != NULL; i++) {
      (void)strcat(strcat(text, environ[i]), "\n");
    }
  } else if (strcmp(what, "print") == 0) {
    printf("to stdout\n");
    fprintf(stderr, "to stderr\n");
    printf("not a whole line");
  } else if (strcmp(what, "flood") == 0) {
    for (i = 0; i < number; i++) {
      (void)!write(1, text, 1024);
    }
  } else if (strcmp(what, "read") == 0) {
    (void)sprintf(text, "%d", (int)read(0, text, 10));
  } else if (strcmp(what, "close") == 0) {
    for (i = 0; i < number; i++) {
      (void)close(i);
    }
  } else if (strcmp(what, "exit") == 0) {
    hang_at_exit = 0;
    exit(number);
  } else if (strcmp(what, "signal") == 0) {
    (void)raise(number);
  } else if (strcmp(what, "deep") == 0) {
    (void)sprintf(text, "%d", deep(text));
  } else if (strcmp(what, "hang at exit") == 0) {
    hang_at_exit = 1;
  } else if (strcmp(what, "loop") == 0) {
    sigset_t all;
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, NULL);
    (void)!write(2, "looping", 7);
    for (;;) {
    }
  } else if (strcmp(what, "children") == 0) {
    (void)sprintf(text, "%d %d ", child(0, 0), child(1, 0));
    (void)child(1, 1);
  } else if (strcmp(what, "threads") == 0) {
    sigset_t set;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &set);
    for (i = 1; i < 32; i++) {
      (void)sprintf(text + strlen(text), "%d", sigismember(&set, i));
    }
  } else if (strcmp(what, "limits") == 0) {
    const int which[] = { RLIMIT_CORE, RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_CPU, RLIMIT_STACK };
    struct rlimit limit;
    for (i = 0; i < 5; i++) {
      (void)getrlimit(which[i], &limit);
      (void)sprintf(text + strlen(text), "%llu,%llu ", (unsigned long long)limit.rlim_cur,
                    (unsigned long long)limit.rlim_max);
    }
  } else if (strcmp(what, "allocate") == 0) {
    char *volatile got = malloc((size_t)number << 20);
    (void)strcpy(text, got != NULL ? "got it" : "none");
    if (got != NULL) {
      memset(got, 1, (size_t)number << 20);
      free(got);
    }
  } else if (strcmp(what, "open") == 0) {
    for (i = 0; open("/dev/null", O_RDONLY) >= 0; i++) {
    }
    (void)sprintf(text, "%d %d", i, errno == EMFILE);
  } else if (strcmp(what, "sigpipe") == 0) {
    int ends[2];
    (void)!pipe(ends);
    (void)close(ends[0]);
    number = (int)write(ends[1], "x", 1);
    (void)sprintf(text, "%d %d", number, errno == EPIPE);
  }
  return say(response, text);
}
"""


#: The endless recursion is intended.
FLAGS = ("-pthread", "-Wno-infinite-recursion", "-Wno-unknown-warning-option")


@pytest.fixture(name="wild")
def _wild(compile_plugin: CompilePlugin) -> Path:
    return compile_plugin(WILD, "wild", FLAGS)


def is_alive(pid: int) -> bool:
    """Returns whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(condition: Callable[[], bool]) -> bool:
    """Waits for a condition."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            return False
        select.select([], [], [], 0.002)
    return True


def descendants(pid: int) -> set[int]:
    """Returns the descendants of a process."""
    found = set()
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            found |= {child} | descendants(child)
    return found


class TestByHand:
    """Section 1: the program is started by a host, and explains this to people who start it."""

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["--help"],
            ["--log"],
            ["--log", "x"],
            ["--log", "-1"],
            ["--log", "3", "--log"],
            ["3"],
            ["--log", "3", "--mailbox", "4"],
            ["--log", "3", "--event", "4"],
        ],
        ids=str,
    )
    def test_arguments(self, arguments: list[str]) -> None:
        """§1: invalid arguments exit with code 2 and one sentence."""
        done = subprocess.run([PROGRAM, *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False)

        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.count(b"\n") == 1
        assert b"to run a plugin yourself, use `backworks plugin call` or `backworks serve`" in done.stderr

    def test_terminal(self) -> None:
        """§1: a terminal instead of a pipe also exits with code 2."""
        master, slave = pty.openpty()
        try:
            done = subprocess.run([PROGRAM, "--log", "2"], stdin=slave, capture_output=True, check=False)
        finally:
            os.close(master)
            os.close(slave)

        assert done.returncode == 2

    @linux
    def test_no_mailbox(self) -> None:
        """§9: descriptors that are not a mailbox exit with code 2."""
        with Path(os.devnull).open("rb") as null:
            with Worker(["--mailbox", str(null.fileno()), "--event", str(null.fileno())], [null.fileno()]) as worker:
                assert worker.wait() == 2


class TestSurroundings:
    """Section 1: the process of a plugin."""

    @unsanitized
    @pytest.mark.parametrize("limits", [None, (256, 4096), (256, 256), (20, 20)], ids=str)
    def test_descriptors(self, wild: Path, limits: tuple[int, int] | None) -> None:
        """§1: a plugin sees descriptors 0, 1 and 2; all others have high numbers and are closed on exec."""
        import resource

        def limit() -> None:
            if limits is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)

        with Worker(preexec_fn=limit) as worker:
            found = [tuple(map(int, each.split(b":"))) for each in worker.ready(wild).data(b"descriptors").split()]

            assert found[:3] == [(0, 0), (1, 0), (2, 0)]
            assert len(found[3:]) == (4 if sys.platform == "linux" else 3)
            assert all(closes for _, closes in found[3:])
            assert found[3][0] == {None: 4080, 4096: 4080, 256: 240, 20: 3}[limits and limits[1]]
            assert worker.data(b"limits").split()[1] == b"%d,%d" % (
                limits or resource.getrlimit(resource.RLIMIT_NOFILE)
            )

    def test_nothing_else_is_inherited(self, wild: Path) -> None:
        """§1: the environment is exactly what the host passed."""
        with Worker(environment={"A": "b", "C": ""}) as worker:
            lines = worker.ready(wild).data(b"environment").splitlines()

            assert [line for line in lines if b"SAN_OPTIONS" not in line] == [b"A=b", b"C="]

    def test_print(self, wild: Path) -> None:
        """§1: what a plugin writes to stdout goes to stderr and damages no frame."""
        with Worker() as worker:
            worker.ready(wild).data(b"print")

            assert worker.data(b"descriptors")
            assert worker.ask(SHUTDOWN)[1][:4] == bytes(4)
            assert worker.wait() == 0
            assert worker.errors() == b"to stdout\nto stderr\n"

    def test_flood(self, wild: Path) -> None:
        """§7: a plugin that fills stderr blocks until the host reads it, and then continues."""
        with Worker() as worker:
            worker.ready(wild).send(CALL, call(b"flood", b"1024"))
            got = 0
            while got < 1 << 20:
                got += len(os.read(worker.stderr.fileno(), 1 << 16))
            frame = worker.replies.read()

            assert got == 1 << 20
            assert frame is not None
            assert answer(frame[2]) == Answer(0, b"")

    def test_standard_input(self, wild: Path) -> None:
        """§1: stdin is empty; it is not the request pipe."""
        with Worker() as worker:
            assert worker.ready(wild).data(b"read") == b"0"

    def test_signals(self, wild: Path) -> None:
        """§1: no signal except SIGPIPE is blocked or ignored, whatever the host blocks or ignores."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
        handler = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        try:
            worker = Worker()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            signal.signal(signal.SIGUSR1, handler)
        with worker:
            assert set(worker.ready(wild).data(b"threads")) == set(b"0")
            assert worker.data(b"sigpipe") == b"-1 1"
            worker.send(CALL, call(b"signal", b"%d" % signal.SIGUSR1))
            assert worker.wait() == -signal.SIGUSR1

    @unsanitized
    def test_closes_what_it_finds(self, wild: Path) -> None:
        """§1: a plugin that closes descriptors 0 to 1023 closes none that the worker uses."""
        with Worker() as worker:
            worker.ready(wild).data(b"close", b"1024")

            assert worker.data(b"read") == b"-1"

    @unsanitized
    def test_closes_everything(self, wild: Path) -> None:
        """§8: when a plugin closes the pipes too, the process exits with code 5."""
        with Worker() as worker:
            worker.ready(wild).send(CALL, call(b"close", b"10000"))

            assert worker.replies.read() is None
            assert worker.wait() == 5

    @linux
    def test_threads(self, wild: Path) -> None:
        """§8: besides the main thread, the worker has one thread, which blocks all signals."""
        with Worker() as worker:
            worker.ready(wild)
            masks = []
            for task in Path(f"/proc/{worker.process.pid}/task").iterdir():
                if int(task.name) != worker.process.pid:
                    status = (task / "status").read_text()
                    masks += [line.split()[1] for line in status.splitlines() if line.startswith("SigBlk")]

            assert len(masks) == 1
            assert int(masks[0], 16) & 0x7FFBFEFF == 0x7FFBFEFF & ~(1 << 31)


class TestEnd:
    """Sections 5 and 8: how a worker ends."""

    @pytest.mark.parametrize("code", [0, 3, 77])
    def test_exit(self, wild: Path, code: int) -> None:
        """§8: exit() in a plugin ends the process with the plugin's code and without a reply."""
        with Worker() as worker:
            worker.ready(wild).send(CALL, call(b"exit", b"%d" % code))

            assert worker.replies.read() is None
            assert worker.wait() == code

    @unsanitized
    @pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGKILL, signal.SIGTERM])
    def test_signal(self, wild: Path, number: signal.Signals) -> None:
        """§8: a signal ends the process."""
        with Worker() as worker:
            worker.ready(wild).send(CALL, call(b"signal", b"%d" % number))

            assert worker.replies.read() is None
            assert worker.wait() == -number

    @unsanitized
    def test_endless_recursion(self, wild: Path) -> None:
        """§4: a stack overflow raises SIGSEGV, even if the system does not limit the stack."""
        import resource

        def unlimited() -> None:
            hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
            resource.setrlimit(resource.RLIMIT_STACK, (hard, hard))

        for prepare in (None, unlimited):
            with Worker(preexec_fn=prepare) as worker:
                worker.ready(wild).send(CALL, call(b"deep"))

                assert worker.replies.read() is None
                assert worker.wait() == -signal.SIGSEGV

    def test_destructors(self, wild: Path) -> None:
        """§5 SHUTDOWN: destructors, which could hang, do not run."""
        with Worker() as worker:
            worker.ready(wild).data(b"hang at exit")
            worker.ask(SHUTDOWN)

            assert worker.wait() == 0

    @linux
    def test_children_after_shutdown(self, wild: Path) -> None:
        """§5 SHUTDOWN: all processes that the plugin started are dead before the reply, even outside its group."""
        with Worker() as worker:
            worker.ready(wild).data(b"children")
            pid = worker.process.pid
            assert until(lambda: sum(map(is_alive, descendants(pid))) == 3)
            children = descendants(pid)
            worker.ask(SHUTDOWN)

            assert [child for child in children if is_alive(child)] == []
            assert worker.wait() == 0

    @linux
    @pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
    def test_host_closes_the_pipe(self, wild: Path, busy: bool) -> None:
        """§8: when the request pipe closes, the worker and its children die, whatever the plugin is doing."""
        with Worker() as worker:
            worker.ready(wild).data(b"children")
            assert until(lambda: sum(map(is_alive, descendants(worker.process.pid))) == 3)
            children = descendants(worker.process.pid)
            if busy:
                worker.send(CALL, call(b"loop"))
                assert os.read(worker.stderr.fileno(), 100) == b"looping"
            worker.requests.close()

            assert worker.wait() in ({-signal.SIGKILL} if busy else {-signal.SIGKILL, 5})
            assert until(lambda: not any(map(is_alive, children)))

    def test_host_closes_the_pipe_while_opening(self, compile_plugin: CompilePlugin) -> None:
        """§8: the same holds while the library's constructors run."""
        hanging = compile_plugin(WILD, "hanging", ["-DHANG", *FLAGS])
        with Worker() as worker:
            worker.send(START, start(hanging))
            worker.requests.close()

            assert worker.wait() == -signal.SIGKILL

    @linux
    def test_host_is_killed(self, wild: Path, tmp_path: Path) -> None:
        """§8: when the host is killed, the worker and its children die, even if another process has the pipes open."""
        (tmp_path / "host.py").write_text(HOST, encoding="utf-8")
        reading, writing = os.pipe()  # inherited by the worker too: closed once all of them are gone
        path = [str(Path(__file__).parent), *sys.path]
        host = subprocess.Popen(
            [sys.executable, tmp_path / "host.py", wild, str(writing)],
            pass_fds=(writing,),
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
        )
        os.close(writing)
        with host, os.fdopen(reading, "rb") as gone:
            assert host.stdout is not None
            pid = int(host.stdout.readline())
            assert until(lambda: sum(map(is_alive, descendants(pid))) == 3)
            everybody = {pid} | descendants(pid)
            host.kill()

            assert host.wait(PATIENCE) == -signal.SIGKILL
            assert until(lambda: not any(map(is_alive, everybody)))
            assert gone.read() == b""

    @pytest.mark.parametrize("times", [30])
    def test_no_race_at_the_end(self, compile_plugin: CompilePlugin, times: int) -> None:
        """§8: the exit code is 0 even if the host closes everything as soon as it has the last reply."""
        for _ in range(times):
            with Worker() as worker:
                worker.ready(compile_plugin(ECHO)).ask(SHUTDOWN)
                worker.requests.close()

                assert worker.wait() == 0

    def test_host_does_not_read(self, wild: Path) -> None:
        """§8: a worker exits when its reply can no longer be read."""
        with Worker() as worker:
            worker.ready(wild)
            assert worker.process.stdout is not None
            worker.process.stdout.close()
            worker.send(CALL, call(b"environment"))

            assert worker.wait() == 5


#: A host that starts a worker, prints the worker's pid and waits to be killed; a child of the host holds the pipes.
HOST = """
import os, signal, sys
from sources import WORKER
from worker_driver import Worker

worker = Worker(descriptors=(int(sys.argv[2]),))
worker.ready(sys.argv[1]).data(b"children")
os.close(int(sys.argv[2]))
if os.fork() == 0:
    os.setsid()
    os.close(1)
    signal.alarm(60)
    while os.getppid() != 1 and os.path.exists(f"/proc/{worker.process.pid}"):
        signal.sigtimedwait([], 0.01)
    os._exit(0)
print(worker.process.pid, flush=True)
signal.pause()
"""


class TestLimits:
    """Section 4: limits."""

    @unsanitized
    def test_values(self, wild: Path) -> None:
        """§4: files, processes and processor time are limited, core files are off, and the stack is bounded."""
        with Worker() as worker:
            worker.ready(wild, files=50, processes=30000, cpu=100)
            core, files, processes, cpu, stack = worker.data(b"limits").split()

            assert (core, files, processes, cpu) == (b"0,0", b"50,50", b"30000,30000", b"100,101")
            assert int(stack.split(b",")[0]) <= 64 << 20

    @linux
    @unsanitized
    def test_memory(self, wild: Path) -> None:
        """§4: an allocation beyond the limit fails in the plugin, and the worker continues."""
        with Worker() as worker:
            worker.ready(wild, memory=64 << 20)

            assert worker.data(b"allocate", b"32") == b"got it"
            assert worker.data(b"allocate", b"64") == b"none"

    @linux
    @unsanitized
    def test_request_beyond_memory(self, wild: Path) -> None:
        """§3: a request that does not fit gets code 8, and the next one that does is served."""
        with Worker() as worker:
            worker.ready(wild, memory=32 << 20)
            reply = worker.call(b"x", bytes(40 << 20))

            assert isinstance(reply, Answer)
            assert reply.code == 8
            assert reply.data == b"the worker has no memory for a request of this size"
            assert worker.data(b"read") == b"0"

    def test_open_files(self, wild: Path) -> None:
        """§4: the worker's descriptors do not count, because their numbers are above the limit."""
        with Worker() as worker:
            opened, full = worker.ready(wild, files=20).data(b"open").split()

            assert (int(opened), full) == (17, b"1")

    @unsanitized
    def test_processor_time(self, wild: Path) -> None:
        """§4: a plugin that uses up its processor time is killed by SIGXCPU, or by SIGKILL if it blocks that."""
        with Worker() as worker:
            worker.ready(wild, cpu=1).send(CALL, call(b"loop"))

            assert worker.wait() in (-signal.SIGXCPU, -signal.SIGKILL)

    @pytest.mark.parametrize("memory", [1])
    @linux
    @unsanitized
    def test_too_little(self, wild: Path, memory: int) -> None:
        """§4: a limit too low for any plugin causes REFUSED instead of a lost worker."""
        with Worker() as worker:
            kind, payload = worker.start(wild, memory=memory)

            assert kind == REFUSED
            assert struct.unpack_from("<I", payload)[0] in (2, 3)


@linux
class TestCost:
    """What a worker costs in addition to its plugin."""

    @staticmethod
    def memory(worker: Worker, field: str) -> int:
        """Returns the kernel's count of a process's memory, in kB."""
        lines = Path(f"/proc/{worker.process.pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(field + ":"))

    @unsanitized
    def test_memory(self, compile_plugin: CompilePlugin) -> None:
        """A worker with a tiny plugin uses less than 3 MB of private memory."""
        with Worker() as worker:
            worker.ready(compile_plugin(ECHO)).data(b"x", bytes(60000))

            assert self.memory(worker, "Pss") < 3000

    @unsanitized
    def test_memory_goes_back(self, compile_plugin: CompilePlugin) -> None:
        """The memory of a large request is freed as soon as the reply is sent."""
        with Worker() as worker:
            worker.ready(compile_plugin(ECHO)).data(b"x", bytes(60000))
            before = self.memory(worker, "Private_Dirty")
            worker.data(b"x", bytes(50 << 20))

            assert until(lambda: self.memory(worker, "Private_Dirty") < before + 1500)

    @unsanitized
    def test_start(self, compile_plugin: CompilePlugin) -> None:
        """From startup to exit, with one call, a worker uses less than 10 ms of processor time."""
        library = compile_plugin(ECHO)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(20):
            with Worker() as worker:
                worker.ready(library).data(b"x")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)

        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 20 * 0.010

    def test_idle(self, compile_plugin: CompilePlugin) -> None:
        """An idle worker is never scheduled."""
        with Worker() as worker:
            worker.ready(compile_plugin(ECHO)).data(b"x")
            statuses = [task / "status" for task in Path(f"/proc/{worker.process.pid}/task").iterdir()]

            def switches() -> list[str]:
                return [line for s in statuses for line in s.read_text().splitlines() if "ctxt_switches" in line]

            assert until(lambda: all("S (sleeping)" in status.read_text() for status in statuses))
            before = switches()
            select.select([], [], [], 0.3)

            assert switches() == before


FUTEX_WAKE = 1


@linux
class TestMailbox:
    """Section 9, without the host's implementation; test_mailbox.py has more."""

    @pytest.fixture(name="box")
    def _box(self) -> Iterator[tuple[mmap.mmap, int, int]]:
        memory = os.memfd_create("mailbox")
        os.ftruncate(memory, 0x4000000)
        event = os.eventfd(0, os.EFD_NONBLOCK)
        with mmap.mmap(memory, 0x4000000) as box:
            yield box, memory, event
        os.close(memory)
        os.close(event)

    def post(self, box: mmap.mmap, number: int, place: int) -> None:
        """Announces a request, and wakes the worker."""
        struct.pack_into("<I", box, 0x2000000, 2)
        struct.pack_into("<II", box, 0x84, place, 999)
        struct.pack_into("<I", box, 0x80, number)
        word = ctypes.c_uint32.from_buffer(box, 0x80)
        futex = {"x86_64": 202, "aarch64": 98}[os.uname().machine]
        ctypes.CDLL(None).syscall(futex, ctypes.byref(word), FUTEX_WAKE, 1, None, None, 0)

    def reply(self, box: mmap.mmap, event: int, number: int) -> int:
        """Waits for a reply and returns its place."""
        while struct.unpack_from("<I", box, 0x2000080)[0] != number:
            assert select.select([event], [], [], PATIENCE)[0]
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(event)
        return int(struct.unpack_from("<I", box, 0x2000084)[0])

    def frame(self, box: mmap.mmap) -> tuple[int, int, bytes]:
        """Returns the frame in the reply area."""
        size, kind, number = struct.unpack_from("<IIQ", box, 0x2000090)
        return kind, number, box[0x20000A0 : 0x20000A0 + size]

    def test_calls(self, compile_plugin: CompilePlugin, box: tuple[mmap.mmap, int, int]) -> None:
        """§9: the reply takes the way of the request, mailbox or pipe, also beyond 32 MiB."""
        memory, memory_fd, event = box
        options = ["--mailbox", str(memory_fd), "--event", str(event)]
        with Worker(options, [memory_fd, event]) as worker:
            worker.ready(compile_plugin(ECHO))
            for number, size in enumerate((0, 5, 100000, 20 << 20), 1):
                payload = call(b"x", b"m" * size)
                memory[0x90 : 0xA0 + len(payload)] = struct.pack("<IIQ", len(payload), CALL, 70 + number) + payload
                self.post(memory, number, 1)

                assert self.reply(memory, event, number) == 1
                assert self.frame(memory)[:2] == (130, 70 + number)
                assert answer(self.frame(memory)[2]) == Answer(0, b"m" * size)
            for number, size in ((5, 7), (6, 40 << 20)):
                self.post(memory, number, 2)
                worker.send(CALL, call(b"x", b"p" * size))

                assert self.reply(memory, event, number) == 2
                frame = worker.replies.read()
                assert frame is not None
                assert answer(frame[2]) == Answer(0, b"p" * size)

    @pytest.mark.parametrize(
        ("place", "head"),
        [
            (0, (0, 3, 1)),
            (3, (0, 3, 1)),
            (1, (0, 99, 1)),
            (1, ((32 << 20) - 0x90 - 15, CALL, 1)),
            (1, (5, 3, 1)),
            (1, (1 << 30, CALL, 1)),
        ],
        ids=str,
    )
    def test_broken(
        self,
        compile_plugin: CompilePlugin,
        box: tuple[mmap.mmap, int, int],
        place: int,
        head: tuple[int, int, int],
    ) -> None:
        """§9: an unknown place, a malformed frame, or one longer than the area makes the worker exit with code 4."""
        memory, memory_fd, event = box
        options = ["--mailbox", str(memory_fd), "--event", str(event)]
        with Worker(options, [memory_fd, event]) as worker:
            worker.ready(compile_plugin(ECHO))
            struct.pack_into("<IIQ", memory, 0x90, *head)
            self.post(memory, 1, place)

            assert worker.wait() == 4


POSIX = ["-D_GNU_SOURCE", "-D_DARWIN_C_SOURCE"]
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wcast-qual", "-Werror"]


def sources(system: str) -> list[str]:
    """Returns the program's source files for a system."""
    windows = {"platform_windows.c"}
    posix = {"platform_posix.c", "watch.c", "limits.c", "children.c", "guard.c"}
    leave_out = posix if system == "windows" else windows
    return [str(path) for path in WORKER if path.name not in leave_out]


class TestSources:
    """The program's C source."""

    @pytest.mark.parametrize("compiler", ["gcc", "clang"])
    def test_no_warning(self, compiler: str) -> None:
        """It compiles without a warning."""
        if shutil.which(compiler) is None:
            missing(compiler)
        done = subprocess.run(
            [compiler, "-std=c11", "-fsyntax-only", *WARNINGS, *POSIX, f"-I{sdk.path('c')}", *sources("here")],
            capture_output=True,
            text=True,
            check=False,
        )

        assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.parametrize(
        ("target", "system"),
        [
            ("x86_64-windows-gnu", "windows"),
            ("x86_64-macos", "macos"),
            ("aarch64-macos", "macos"),
            ("x86_64-linux-musl", "linux"),
        ],
    )
    def test_other_systems(self, target: str, system: str, tmp_path: Path) -> None:
        """It also compiles and links without a warning for other systems."""
        done = subprocess.run(
            [sys.executable, "-m", "ziglang", "cc", "-target", target, "-std=c11", "-O1", *WARNINGS]
            + (POSIX if system != "windows" else [])
            + (["-dynamic"] if system == "linux" else [])
            + [f"-I{sdk.path('c')}", *sources(system), "-o", str(tmp_path / "worker")],
            capture_output=True,
            text=True,
            check=False,
        )

        assert (done.returncode, done.stderr) == (0, "")
