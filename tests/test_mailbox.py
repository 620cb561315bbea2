"""The mailbox, against the process of ``mailbox_echo.c``: "Mailbox" in ``native/wire/PROTOCOL.md``."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import os
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ECHO, PACE, PATIENCE, CompilePlugin, missing
from handover_model import Model, explore
from sources import EXTENSION

import backworks
from backworks.ffi.contract import ContractViolation, Reply

if sys.platform != "linux":
    pytest.skip("there is a mailbox on Linux only", allow_module_level=True)

if sys.platform == "linux":
    import resource

    from backworks.isolation.channels.mailbox import _LARGEST, MailboxChannel, create
    from backworks.isolation.channels.pipe import PipeChannel
    from backworks.isolation.channels.process import ProcessRunner
    from backworks.isolation.process.codec import HEADER, HEALTH, REPLY, FrameError, Gone, Late
    from backworks.settings import Limits

HERE = Path(__file__).resolve().parent
LARGE = 33 << 20  # more than fits

#: Calls of one attack.
CALLS = 2000


def watched(loop: asyncio.AbstractEventLoop) -> set[int]:
    """The descriptors that an event loop of asyncio watches."""
    return {key.fd for key in loop._selector.get_map().values()}  # type: ignore[attr-defined]


class Peer:
    """A running ``mailbox_echo`` and the channel to it."""

    def __init__(self, program: Path, output: int = 64 << 20) -> None:
        box = create()
        if box is None:
            missing("the extension module")
        their_requests, requests = os.pipe()
        replies, their_replies = os.pipe()
        os.set_blocking(requests, False)
        os.set_blocking(replies, False)
        self.process = subprocess.Popen(
            [program, str(box.memory_fd), str(box.event_fd)],
            stdin=their_requests,
            stdout=their_replies,
            pass_fds=(box.memory_fd, box.event_fd),
        )
        os.close(their_requests)
        os.close(their_replies)
        self._ended = os.pidfd_open(self.process.pid)
        limits = Limits(output=output)
        self._timers = asyncio.new_event_loop()
        self.box = box
        self.channel = MailboxChannel(PipeChannel(requests, replies, self._ended, limits), box, limits, self._timers)

    def call(self, endpoint: str, data: str | bytes = b"", timeout: float | None = PATIENCE) -> Reply:
        return self.channel.call(endpoint, "POST", data, timeout, None, None)

    async def call_async(self, endpoint: str, data: str | bytes = b"") -> Reply:
        """Does what the driver of an event loop does."""
        reply = self.channel.begin(endpoint, "POST", data, None, None, None)
        if reply is not None:
            return reply
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Reply] = loop.create_future()

        def look() -> None:
            if done.done():
                return
            try:
                found = self.channel.advance()
            except Exception as error:
                done.set_exception(error)
            else:
                if found is not None:
                    done.set_result(found)

        self.channel.watch(loop, look)
        look()
        try:
            return await asyncio.wait_for(done, PATIENCE)
        finally:
            self.channel.unwatch()

    def run_timers_until(self, condition: Callable[[], bool]) -> None:
        """Does what is due until the condition holds."""
        until = time.monotonic() + PATIENCE
        while not condition() and time.monotonic() < until:
            self._timers.call_later(0.01, self._timers.stop)
            self._timers.run_forever()

    def end(self) -> None:
        if self._timers.is_closed():  # it is over already
            return
        self.process.kill()
        self.process.wait()
        self.channel.close()
        self._timers.close()
        os.close(self._ended)


@pytest.fixture(scope="session", name="echo")
def _echo(cc: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program."""
    program = tmp_path_factory.mktemp("mailbox") / "mailbox_echo"
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread"]
    sources = [HERE / "mailbox_echo.c", HERE.parent / "native" / "wire" / "frame.c"]
    subprocess.run([*cc, *flags, *sources, "-o", program], check=True)
    return program


@pytest.fixture(name="start")
def _start(echo: Path) -> Iterator[Callable[..., Peer]]:
    """Starts peers and ends them."""
    peers: list[Peer] = []

    def start(output: int = 64 << 20) -> Peer:
        peers.append(Peer(echo, output))
        return peers[-1]

    yield start
    for peer in peers:
        peer.end()


@pytest.fixture(name="peer")
def _peer(start: Callable[..., Peer]) -> Peer:
    return start()


def reply_frame(number: int, *, size: int | None = None, kind: int = REPLY, sizes: bytes | None = None) -> bytes:
    """A frame as the mailbox may have it."""
    payload = sizes if sizes is not None else bytes(8) + b"\xff" * 8 + bytes(16)
    return HEADER.pack(len(payload) if size is None else size, kind, b"", number) + payload


class TestCalls:
    """What goes there and comes back."""

    @pytest.mark.parametrize("size", [0, 1, 63, 4096, 65_536, 65_537, 3 << 20, (32 << 20) - 1000, LARGE])
    def test_sizes(self, peer: Peer, size: int) -> None:
        """Data of any size comes back whole, through the mailbox or, where it does not fit, by pipe."""
        data = os.urandom(size)

        assert peer.call("/echo", data) == Reply(0, data, 0, None, None)
        assert peer.call("/echo", b"small") == Reply(0, b"small", 0, None, None)

    def test_kinds_of_arguments(self, peer: Peer) -> None:
        """Text, bytes and buffers are taken, also with a trace context, and an answer without data is None."""
        channel = peer.channel

        assert channel.call("/echo", "POST", "grün", None, None, None).data == "grün".encode()
        assert channel.call(b"/echo", b"POST", bytearray(b"abc"), 1, "00-1", b"x=1").data == b"abc"
        assert channel.call("/echo", "POST", memoryview(b"abcdef")[::2], 1.5, None, "é").data == b"ace"
        assert channel.control(HEALTH, b"", 1.0) == Reply(0, None, HEALTH, None, None)

    @pytest.mark.parametrize(
        "arguments",
        [
            ("/echo", "POST", 5, None, None, None),
            ("/echo", "POST", b"", "soon", None, None),
            ("/echo", "POST", b"", float("nan"), None, None),
            ("/echo", "POST", "\udc80", None, None, None),
            ("/echo" * 20_000, "POST", b"", None, None, None),
            ("/echo", "POST", b"", None, None),
        ],
    )
    def test_bad_arguments(self, peer: Peer, arguments: tuple[object, ...]) -> None:
        """Arguments that cannot be sent are refused before anything is, and the next call is served."""
        with pytest.raises((TypeError, ValueError)):
            peer.channel.call(*arguments)

        assert peer.call("/echo", b"next").data == b"next"

    def test_largest(self, peer: Peer) -> None:
        """Page, Python and C agree on the largest frame."""
        page = (HERE.parent / "native" / "wire" / "PROTOCOL.md").read_text(encoding="utf-8")
        largest = 33_554_288 - HEADER.size

        assert page.count("33,554,288") == 2
        assert largest == _LARGEST
        assert peer.channel.control(HEALTH, bytes(largest), PATIENCE).http_status == HEALTH
        with pytest.raises(ValueError, match="does not fit"):
            peer.box.begin_control(HEALTH, bytes(largest + 1))

    def test_reply_by_pipe(self, peer: Peer) -> None:
        """A reply that the worker sends by pipe is taken from there, and the next one from the mailbox."""
        assert peer.call("/pipe", b"x" * 100_000).data == b"x" * 100_000
        assert peer.call("/echo", b"next").data == b"next"

    def test_many(self, peer: Peer) -> None:
        """Of many calls, some of which both sides have slept in, each gets its own answer."""
        for i in range(3000):
            data = str(i % 400 if i % 50 == 0 else i)

            assert peer.call("/sleep" if i % 50 == 0 else "/echo", data).data == data.encode()

    def test_one_processor(self, peer: Peer) -> None:
        """With both sides on one processor nobody polls in vain."""
        allowed = os.sched_getaffinity(0)
        one = {min(allowed)}
        os.sched_setaffinity(peer.process.pid, one)
        os.sched_setaffinity(0, one)
        try:
            before = time.process_time() + seconds_run(peer.process.pid)
            for i in range(2000):
                assert peer.call("/echo", str(i)).data == str(i).encode()
            used = time.process_time() + seconds_run(peer.process.pid) - before
        finally:
            os.sched_setaffinity(0, allowed)

        assert used < 2000 * 200e-6

    def test_idle(self, peer: Peer) -> None:
        """A worker that nobody calls uses no processor time."""
        peer.call("/echo", b"x")
        status = Path(f"/proc/{peer.process.pid}/status")
        until = time.monotonic() + PATIENCE
        while "S (sleeping)" not in status.read_text():  # it polls for at most 50 µs
            assert time.monotonic() < until
            select.select([], [], [], 0.002)
        before = Path(f"/proc/{peer.process.pid}/schedstat").read_text()
        select.select([], [], [], 0.3)

        assert Path(f"/proc/{peer.process.pid}/schedstat").read_text() == before

    def test_pages_are_given_back(self, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
        """The memory of a large message is given back a while after it, and there again for the next one."""
        monkeypatch.setattr("backworks.isolation.channels.mailbox._IDLE", 0.05)
        pid = peer.process.pid
        peer.call("/echo", b"x" * (16 << 20))
        assert shared_memory(pid) > 30 << 20
        peer.run_timers_until(lambda: shared_memory(pid) < 8 << 20)

        assert shared_memory(pid) < 8 << 20
        for size in (4, 3 << 20, 16 << 20):
            assert peer.call("/echo", b"n" * size).data == b"n" * size


def shared_memory(pid: int) -> int:
    """How many bytes of shared memory a process has in its page tables."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssShmem:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no RssShmem")


class TestAsync:
    """Calls of an event loop."""

    @pytest.mark.parametrize(
        ("endpoint", "data"),
        [("/echo", b"x"), ("/sleep", b"2000"), ("/pipe", b"y" * 200_000), ("/echo", b"z" * LARGE)],
    )
    def test_answers(self, peer: Peer, endpoint: str, data: bytes) -> None:
        """An answer comes at once, later, or by pipe; also in a second loop."""

        async def twice() -> list[Reply]:
            return [await peer.call_async(endpoint, data), await peer.call_async("/sleep", b"1000")]

        for _ in range(2):
            replies = asyncio.run(twice())

            assert [reply.data for reply in replies] == [data, b"1000"]

    def test_many(self, peer: Peer) -> None:
        """No wake-up is lost, whenever the answer comes while the loop makes ready to wait."""

        async def calls() -> None:
            for i in range(3000):
                data = str(i % 30)
                assert (await peer.call_async("/spin", data)).data == data.encode()

        asyncio.run(calls())

    def test_death(self, peer: Peer) -> None:
        """A call whose worker dies ends at once."""

        async def die() -> None:
            loop = asyncio.get_running_loop()
            ended = os.pidfd_open(peer.process.pid)
            loop.add_reader(ended, lambda: (loop.remove_reader(ended), peer.channel.notify()))
            try:
                with pytest.raises(Gone):
                    await peer.call_async("/exit")
            finally:
                loop.remove_reader(ended)
                os.close(ended)

        asyncio.run(die())


class TestEnds:
    """Calls that get no answer."""

    def test_timeout(self, peer: Peer) -> None:
        """A call ends at its deadline and not before; the request stays open, and another is refused."""
        before = time.monotonic()
        with pytest.raises(Late):
            peer.call("/never", timeout=0.1)

        assert time.monotonic() - before >= 0.1
        with pytest.raises(RuntimeError, match="one at a time"):
            peer.call("/echo")

    def test_late_answer(self, peer: Peer) -> None:
        """The answer to a request that was given up can still be taken."""
        with pytest.raises(Late):
            peer.call("/sleep", b"1000000", timeout=0.01)
        until = time.monotonic() + PATIENCE
        while (reply := peer.channel.advance()) is None and time.monotonic() < until:
            select.select([peer.box.event_fd], [], [], 1.0)

        assert reply == Reply(0, b"1000000", 0, None, None)
        assert peer.call("/echo", b"next").data == b"next"

    @pytest.mark.parametrize("busy_before", [False, True])
    def test_death(self, peer: Peer, busy_before: bool) -> None:
        """Whoever waits is told of the worker's death at once, by another thread; later calls are told, too."""
        if busy_before:
            peer.call("/echo")
        watcher = threading.Thread(target=lambda: (peer.process.wait(PATIENCE), peer.channel.notify()))
        watcher.start()
        with pytest.raises(Gone):
            peer.call("/exit", timeout=None)
        watcher.join()

        assert peer.process.returncode == 7

    def test_answer_before_death(self, peer: Peer) -> None:
        """What was wholly answered before the death is an answer."""
        peer.channel.begin_control(HEALTH, b"")
        while not select.select([peer.box.event_fd], [], [], 0)[0] and peer.box.is_open:
            if (reply := peer.channel.advance()) is not None:
                break
        else:
            reply = None
        peer.process.kill()
        peer.process.wait()
        peer.channel.notify()
        if reply is None:
            reply = peer.channel.advance()

        assert reply == Reply(0, None, HEALTH, None, None)
        with pytest.raises(Gone):
            peer.call("/echo")

    def test_signal(self, peer: Peer) -> None:
        """A signal's handler runs while a call waits; what it raises ends the call and leaves the request open."""

        class Interrupted(Exception):
            pass

        def interrupt(*_: object) -> None:
            raise Interrupted

        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.5)  # long after the call has begun
            with pytest.raises(Interrupted):
                peer.call("/never")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

        assert peer.box.is_open

    def test_two_threads(self, peer: Peer) -> None:
        """A second thread is refused, and the first gets its answer."""
        results: list[Reply] = []
        first = threading.Thread(target=lambda: results.append(peer.call("/sleep", b"1000000")))
        first.start()
        until = time.monotonic() + PATIENCE
        refused = False
        while not refused and time.monotonic() < until and first.is_alive():
            try:
                peer.channel.advance()
            except RuntimeError as error:
                refused = "one at a time" in str(error)
        first.join()

        assert refused
        assert [reply.data for reply in results] == [b"1000000"]

    def test_close_while_waiting(self, start: Callable[..., Peer]) -> None:
        """Closing the mailbox under a call ends the call."""
        box = start().box
        failure: list[BaseException] = []

        def call() -> None:
            try:
                box.call("/never", "GET", b"", None, None, None)
            except BaseException as error:
                failure.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        until = time.monotonic() + PATIENCE
        while not failure and time.monotonic() < until:
            try:
                box.announce()
            except RuntimeError:
                break
        box.close()
        thread.join(PATIENCE)

        assert [type(error) for error in failure] == [Gone]
        with pytest.raises(ValueError, match="closed"):
            box.call("/echo", "GET", b"", None, None, None)

    def test_other_loops(self, start: Callable[..., Peer]) -> None:
        """It stays open until each loop that had calls has forgotten its descriptor, a loop that is busy as well."""
        peer = start()
        first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
        for loop in (first, second):  # the first is told to forget it, and does not run until the end
            assert loop.run_until_complete(peer.call_async("/sleep", b"1000")).data == b"1000"
        peer.end()
        second.run_until_complete(asyncio.sleep(0))
        assert os.fstat(peer.box.event_fd)
        first.run_until_complete(asyncio.sleep(0))

        with pytest.raises(ValueError, match="closed"):
            peer.call("/echo")
        for loop in (first, second):
            loop.close()

    def test_reader_of_another_loop(self, start: Callable[..., Peer]) -> None:
        """A loop that keeps its reader from an earlier call does not touch the call of another loop."""
        peer = start()
        first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
        first.run_until_complete(peer.call_async("/sleep", b"1000"))
        seen: list[int] = []

        peer.channel.begin("/sleep", "GET", b"1000", None, None, None)
        peer.channel.watch(second, lambda: seen.append(2))
        assert select.select([peer.box.event_fd], [], [], PATIENCE)[0]
        first.run_until_complete(asyncio.sleep(0))
        assert (seen, peer.box.event_fd in watched(first)) == ([], False)
        second.run_until_complete(asyncio.sleep(0))

        assert set(seen) == {2}
        reply = peer.channel.advance()
        assert reply is not None
        assert reply.data == b"1000"
        peer.end()
        for loop in (first, second):
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()

    def test_closed_loop(self, start: Callable[..., Peer]) -> None:
        """A loop that was closed before it could forget the descriptor keeps nothing open."""
        peer = start()
        first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
        for loop in (first, second):
            loop.run_until_complete(peer.call_async("/sleep", b"1000"))
            loop.close()
        peer.end()

        with pytest.raises(ValueError, match="closed"):
            peer.call("/echo")

    def test_nothing_is_left(self, start: Callable[..., Peer]) -> None:
        """Mailboxes that nobody closed take their memory and descriptors along."""
        start().call("/echo", b"x")
        gc.collect()  # what other tests have left
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(50):
            assert create() is not None
        gc.collect()

        assert len(list(Path("/proc/self/fd").iterdir())) == before


class TestHostile:
    """A worker that does not keep to the rules."""

    @pytest.mark.parametrize(
        ("frame", "text"),
        [
            (reply_frame(9), "request 9 where 1"),
            (reply_frame(1, kind=129), "129"),
            (reply_frame(1, kind=77), "77"),
            (reply_frame(1, size=0xFFFFFFFF), "claims 4294967295"),
            (reply_frame(1, size=0), "reply of 0 bytes"),
            (reply_frame(1, size=40 << 20), "does not fit"),
            (reply_frame(1, size=31), "reply of 31 bytes"),
            (reply_frame(1, sizes=b"\0" * 8 + b"\xf0\xff\0\0" + b"\xff" * 12 + b"\0" * 8), "content type of 65520"),
            (reply_frame(1, sizes=b"\0" * 8 + b"\xff" * 8 + b"\xff" * 7 + b"\x7f" + b"\0" * 8), "bytes of data"),
            (reply_frame(1, sizes=b"\0" * 8 + b"\xff" * 8 + b"\xff" * 8 + b"\0" * 4 + b"\1\0\0\0"), "zero belongs"),
            (b"", "kind 0"),
        ],
    )
    def test_broken_frames(self, peer: Peer, frame: bytes, text: str) -> None:
        """A frame whose header or sizes cannot be true is refused in words."""
        with pytest.raises(FrameError, match=text):
            peer.call("/raw", frame)

    def test_violation(self, start: Callable[..., Peer]) -> None:
        """An answer that breaks the header's rules is a ContractViolation, and the next call is served."""
        peer = start(1000)
        payload = b"\0" * 8 + b"\xff" * 8 + (5000).to_bytes(8, "little") + b"\1\0\0\0" + b"\0" * 4
        with pytest.raises(ContractViolation, match="claims 5000 bytes; at most 1000"):
            peer.call("/raw", reply_frame(1, sizes=payload))

        assert peer.call("/echo", b"next").data == b"next"

    def test_too_much_output(self, start: Callable[..., Peer]) -> None:
        """More data than the limits allow is refused."""
        with pytest.raises(FrameError, match="claims"):
            start(1000).call("/echo", b"x" * 200_000)

    def test_wrong_number(self, peer: Peer) -> None:
        """A number that was not asked for is refused."""
        with pytest.raises(FrameError, match="not asked for"):
            peer.call("/word", b"12345")

    @pytest.mark.parametrize("place", [b"0", b"3", b"4294967295"])
    def test_wrong_place(self, peer: Peer, place: bytes) -> None:
        """A message that is neither in the mailbox nor on the pipe is refused."""
        with pytest.raises(FrameError, match="at no place"):
            peer.call("/place", place)

    def test_false_alarms(self, peer: Peer) -> None:
        """A worker that wakes a loop in which nobody waits is not listened to until the loop has a call again."""

        async def call() -> None:
            await peer.call_async("/sleep", b"1000")
            loop = asyncio.get_running_loop()
            while peer.box.event_fd in watched(loop):
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_write(peer.box.event_fd, 1)
                await asyncio.sleep(0)

            assert (await peer.call_async("/sleep", b"1000")).data == b"1000"

        asyncio.run(call())

    @pytest.mark.parametrize("seed", range(4))
    def test_scribbling(self, echo: Path, seed: int) -> None:
        """Whatever a worker writes over the mapping while the host calls: an answer, or one of three clean ends."""
        found = attack(echo, seed, calls=CALLS)

        assert set(found) <= {"Reply", "FrameError", "ContractViolation", "Late", "Gone"}

    def test_sanitizers(self, cc: list[str], echo: Path, tmp_path: Path) -> None:
        """The same holds for a build with the sanitizers for memory and undefined behaviour, which find nothing."""
        ffi = tmp_path / "backworks" / "ffi"
        ignored = shutil.ignore_patterns("_native*.so", "__pycache__")
        shutil.copytree(HERE.parent / "backworks", tmp_path / "backworks", ignore=ignored)
        flags = ["-std=c11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
        flags += ["-shared", "-fPIC"]
        flags += ["-DPy_LIMITED_API=0x030b0000", f"-I{HERE.parent / 'sdk' / 'c'}", "-pthread"]
        flags += [f"-I{sysconfig.get_paths()['include']}"]
        sources = [str(path) for path in EXTENSION]
        subprocess.run([*cc, *flags, *sources, "-o", str(ffi / "_native.abi3.so")], check=True)
        runtime = subprocess.run(
            [*cc, "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
        ).stdout.strip()
        if not Path(runtime).is_file():
            missing("a C compiler with sanitizers")
        program = (
            "import sys; sys.path[:0] = sys.argv[2:]\n"  # without site, whose hook would find the checkout
            "import test_mailbox, pathlib, backworks\n"
            "assert backworks.__file__.startswith(sys.argv[2]), backworks.__file__\n"
            "total = {}\n"
            "for seed in range(100, 103):\n"
            "    found = test_mailbox.attack(pathlib.Path(sys.argv[1]), seed, calls=test_mailbox.CALLS // 10)\n"
            "    for name, count in found.items():\n"
            "        total[name] = total.get(name, 0) + count\n"
            "print(sum(total.values()))\n"
        )
        packages = {sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]}
        environment = os.environ | {"LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0"}
        done = subprocess.run(
            [sys.executable, "-S", "-c", program, str(echo), str(tmp_path), str(HERE), *packages],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

        assert done.returncode == 0, done.stderr[-4000:]


def seconds_run(process: int) -> float:
    """Returns how long a process has run on any processor."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e9


def attack(program: Path, seed: int, calls: int) -> dict[str, int]:
    """Calls workers that scribble, by thread and by loop, and counts how that ended."""
    found: dict[str, int] = {}
    patience = 0.02 * PACE
    rounds = 0
    while sum(found.values()) < calls:
        peer = Peer(program, 1 << 20)
        rounds += 1
        try:
            with contextlib.suppress(FrameError, ContractViolation, Late):
                peer.call("/scribble", str(seed * 1_000_000 + rounds), timeout=patience)
            for number in range(300):
                if peer.box.is_open:
                    break
                try:
                    if number % 3:
                        peer.call("/echo", b"x" * (number * 50), timeout=patience)
                    elif peer.channel.begin("/echo", "POST", b"y" * number, patience, None, None) is None:
                        select.select([peer.box.event_fd], [], [], patience / 4)
                        with contextlib.suppress(RuntimeError):
                            peer.channel.advance()
                    name = "Reply"
                except Exception as error:
                    name = type(error).__name__
                found[name] = found.get(name, 0) + 1
        finally:
            peer.end()
    return found


class TestHandOver:
    """All schedules of the hand-over."""

    @pytest.mark.parametrize("death", [False, True])
    @pytest.mark.parametrize("mode", ["futex", "event"])
    def test_no_wake_up_is_lost(self, mode: str, death: bool) -> None:
        """The host gets its answers, or hears of the worker's death, whoever runs when."""
        states, outcomes = explore(Model(mode, death))

        assert outcomes == ({"answered", "gone"} if death else {"answered"})
        assert states > 500

    @pytest.mark.parametrize(
        ("mode", "death", "broken"),
        [
            ("futex", False, "no recheck"),
            ("event", False, "no recheck"),
            ("futex", False, "sleeps is read first"),
            ("event", False, "sleeps is read first"),
            ("futex", True, "notify keeps the number"),
        ],
    )
    def test_the_model_finds_mistakes(self, mode: str, death: bool, broken: str) -> None:
        """Each of these mistakes loses a wake-up in some schedule."""
        _, outcomes = explore(Model(mode, death, broken))

        assert any(outcome.startswith("lost") for outcome in outcomes)


def test_resources() -> None:
    """A process may have many mailboxes: each takes two descriptors, and no memory before it is used."""
    if importlib.util.find_spec("backworks.ffi._native") is None:
        missing("the extension module")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    boxes = [create() for _ in range(100)]

    assert None not in boxes
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096


def test_interruptions(compile_plugin: CompilePlugin) -> None:
    """A signal's handler that raises, at any moment of a call, costs no worker and leaves none that is nobody's."""
    interrupted = 0

    def interrupt(*_: object) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, interrupt)
    plugin = backworks.load(compile_plugin(ECHO), isolation="process", breaker=None, timeout=None)
    assert isinstance(plugin.runner, ProcessRunner)
    pids = plugin.runner.pids
    try:
        for microseconds in range(1, 300):
            try:
                signal.setitimer(signal.ITIMER_REAL, microseconds / 4e6)
                while True:
                    plugin.process_endpoint_data("/", "POST", "x")
            except InterruptedError:
                interrupted += 1
            assert plugin.process_endpoint_data("/", "POST", "alive", timeout=PATIENCE) == "alive"
        assert plugin.runner.pids == pids
    finally:
        signal.signal(signal.SIGALRM, before)
        assert plugin.close(PATIENCE)
    assert interrupted == 299
