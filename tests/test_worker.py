"""The worker program's bytes, checked against native/wire/PROTOCOL.md in the order of its sections."""

from __future__ import annotations

import os
import random
import re
import struct
import sys
import threading
from pathlib import Path

import pytest
from conftest import ECHO, CompilePlugin

if sys.platform == "win32":
    pytest.skip("the driver of these tests passes descriptors on, which Windows has none of", allow_module_level=True)

from worker_driver import (
    CALL,
    HEALTH,
    NO_DATA,
    NONE,
    READY,
    RECONFIGURE,
    REFUSED,
    REPLY,
    SHUTDOWN,
    START,
    Answer,
    Broken,
    Worker,
    answer,
    call,
    start,
)

SECTIONS = Path(__file__).resolve().parent.parent / "native" / "wire" / "PROTOCOL.md"

#: A plugin that does what the endpoint says, with the data as an argument.
PROBE = r"""
#define _GNU_SOURCE
#include <backworks_plugin.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#ifndef INIT
#define INIT
#endif
#ifndef INSTANCE
#define INSTANCE &plugin
#endif
#ifndef NAME
#define NAME "probe"
#endif

struct backworks_plugin { const backworks_host *host; int freed; int shut; };
static backworks_plugin plugin;
char endless[70001];

uint32_t backworks_plugin_abi_version(void) {
#ifdef ABI
  return ABI;
#else
  return BACKWORKS_ABI_VERSION;
#endif
}
const char *backworks_plugin_name(void) { return NAME; }
const char *backworks_plugin_version(void) { return "1.2.3"; }

void backworks_plugin_free_string(char *data, size_t size) {
  (void)size;
  plugin.freed++;
  if (size == 13 || size == 100013) {
    abort();
  }
  if (size < ((size_t)1 << 33)) {
    free(data);
  }
}

int32_t backworks_plugin_init(const backworks_host *host, const char *config, size_t config_size,
                              backworks_plugin **out, backworks_response *error) {
  plugin.host = host;
  host->log(host->context, BACKWORKS_INFO, config, config_size);
  (void)error;
  INIT;
  *out = INSTANCE;
  return BACKWORKS_OK;
}

int32_t backworks_plugin_shutdown(backworks_plugin *self) {
  backworks_log(self->host, BACKWORKS_INFO, "shut down");
  return 5;
}

static void *chatter(void *unused) {
  for (int i = 0; i < 200; i++) {
    plugin.host->log(plugin.host->context, BACKWORKS_DEBUG, unused, 50 * (size_t)i);
  }
  return NULL;
}

static const char *is(const backworks_request *request, const char *name) {
  return backworks_equal(request->endpoint, request->endpoint_size, name) ? name : NULL;
}

int32_t backworks_plugin_process_endpoint_data(backworks_plugin *self, const backworks_request *request,
                                               backworks_response *response) {
  char text[8000];
  if (is(request, "all")) {
    return backworks_answer(response, text, (size_t)snprintf(text, sizeof text,
      "%u %u %.*s|%.*s|%.*s|%d|%d %.*s|%d %.*s",
      request->struct_size, request->reserved, (int)request->endpoint_size, request->endpoint,
      (int)request->method_size, request->method, (int)request->data_size, request->data, (int)request->time_left_ns,
      request->traceparent != NULL, (int)request->traceparent_size, request->traceparent ? request->traceparent : "",
      request->tracestate != NULL, (int)request->tracestate_size, request->tracestate ? request->tracestate : ""));
  }
  if (is(request, "none")) {
    return BACKWORKS_OK;
  }
  if (is(request, "empty")) {
    return backworks_answer(response, "", 0);
  }
  if (is(request, "fields")) {
    response->http_status = 299;
    response->content_type = "text/plain";
    response->content_type_size = 10;
    response->headers = "A: b\r\n";
    response->headers_size = 6;
    return backworks_answer(response, "x", 1);
  }
  if (is(request, "borrowed")) { /* the content type is inside the data's allocation */
    (void)backworks_answer(response, "text/x-inside", 12);
    response->content_type = response->data;
    response->content_type_size = 12;
    return BACKWORKS_OK;
  }
  if (is(request, "fail")) {
    return backworks_fail(response, -7, "no");
  }
  if (is(request, "freed")) {
    return backworks_answer(response, text, (size_t)snprintf(text, sizeof text, "%d", self->freed));
  }
  if (is(request, "null")) {
    response->size = 7;
    return BACKWORKS_OK;
  }
  if (is(request, "claim")) {
    (void)backworks_answer(response, "short", 5);
    response->size = (size_t)10 << 30;
    return 3;
  }
  if (is(request, "type")) {
    (void)backworks_answer(response, "x", 1);
    response->content_type_size = 9;
    return BACKWORKS_OK;
  }
  if (is(request, "headers")) {
    (void)backworks_answer(response, "x", 1);
    response->headers = "a";
    response->headers_size = SIZE_MAX;
    return BACKWORKS_OK;
  }
  if (is(request, "nowhere")) {
    response->data = (char *)4096;
    response->size = (size_t)strtoul(request->data, NULL, 10);
    return BACKWORKS_OK;
  }
  if (is(request, "log")) {
    self->host->log(self->host->context, 35, request->data, request->data_size);
    return BACKWORKS_OK;
  }
  if (is(request, "log 400")) {
    for (int i = 0; i < 400; i++) {
      self->host->log(self->host->context, 20, request->data, request->data_size);
    }
    return BACKWORKS_OK;
  }
  if (is(request, "chatter")) {
    pthread_t threads[4];
    char *many = malloc(10000);
    memset(many, 'x', 9999);
    many[9999] = '\0';
    for (int i = 0; i < 4; i++) {
      (void)pthread_create(&threads[i], NULL, chatter, many);
    }
    for (int i = 0; i < 4; i++) {
      (void)pthread_join(threads[i], NULL);
    }
    free(many);
    return BACKWORKS_OK;
  }
  return backworks_answer(response, request->data, request->data_size);
}

#ifdef OPTIONAL
const char *backworks_plugin_description(void) { return "All there is"; }
int32_t backworks_plugin_health_check(backworks_plugin *self, backworks_response *response) {
  (void)self;
  return backworks_fail(response, BACKWORKS_UNAVAILABLE, "ill");
}
int32_t backworks_plugin_reconfigure(backworks_plugin *self, const char *config, size_t size,
                                     backworks_response *response) {
  (void)self;
  return backworks_answer(response, config, size);
}
#endif
"""


@pytest.fixture(name="probe")
def _probe(compile_plugin: CompilePlugin) -> Path:
    return compile_plugin(PROBE, "probe", ["-pthread"])


@pytest.fixture(name="whole")
def _whole(compile_plugin: CompilePlugin) -> Path:
    """A plugin with all optional functions."""
    return compile_plugin(PROBE, "whole", ["-DOPTIONAL", "-pthread"])


def made(compile_plugin: CompilePlugin, **definitions: str) -> Path:
    """A probe with some of its macros defined."""
    return compile_plugin(PROBE, "made", [f"-D{name}={value}" for name, value in definitions.items()])


def refused(payload: bytes) -> tuple[int, int, bytes]:
    """Parses the payload of a REFUSED."""
    stage, detail, size = struct.unpack_from("<III", payload)
    assert len(payload) == 12 + size
    return stage, detail, payload[12:]


def header(size: int, kind: int, number: int = 1, zeros: bytes = b"\0\0\0") -> bytes:
    """Returns the header of a frame."""
    return struct.pack("<IB3sQ", size, kind, zeros, number)


class TestStart:
    """Section 4."""

    def test_ready(self, probe: Path) -> None:
        """§4 READY: versions, no optional functions, the process id, and the texts; a missing description is NULL."""
        with Worker() as worker:
            kind, payload = worker.start(probe)

            assert kind == READY
            assert struct.unpack_from("<7I", payload) == (1, 1, 0, worker.process.pid, 5, 5, NONE)
            assert payload[28:] == b"probe1.2.3"

    def test_ready_with_everything(self, whole: Path) -> None:
        """§4 READY: bits name the optional functions, and the description is present."""
        with Worker() as worker:
            _, payload = worker.start(whole)

            assert struct.unpack_from("<7I", payload)[2:] == (7, worker.process.pid, 5, 5, 12)
            assert payload[28:] == b"probe1.2.3All there is"

    def test_null_and_endless_texts(self, compile_plugin: CompilePlugin) -> None:
        """§4 READY, §3: a NULL name differs from an empty one, and a long one is cut off."""
        names = []
        for name in ("NULL", '""', "(memset(endless,97,70000),endless)"):
            with Worker() as worker:
                _, payload = worker.start(made(compile_plugin, NAME=name))
            names.append(struct.unpack_from("<7I", payload)[4])

        assert names == [NONE, 0, 65536]

    def test_config(self, probe: Path) -> None:
        """§4 START: init receives the unchanged configuration."""
        with Worker() as worker:
            worker.ready(probe, b'{"a": "\xc3\xa9"}').ask(SHUTDOWN)

            assert worker.records()[0] == (20, b'{"a": "\xc3\xa9"}')

    @pytest.mark.parametrize("changes", [{"protocol": 2}, {"protocol": 0}, {"flags": 1}])
    def test_other_protocol(self, probe: Path, changes: dict[str, int]) -> None:
        """§4 REFUSED 1: another version, or a flag, is refused with the worker's version, and it exits with code 3."""
        with Worker() as worker:
            kind, payload = worker.start(probe, **changes)

            assert kind == REFUSED
            assert refused(payload)[:2] == (1, 1)
            assert worker.wait() == 3

    def test_later_start_is_only_looked_at(self) -> None:
        """§4 START: only the version is read from a START of another version."""
        with Worker() as worker:
            kind, payload = worker.ask(START, struct.pack("<I", 99))

            assert (kind, refused(payload)[0]) == (REFUSED, 1)

    @pytest.mark.parametrize("path", ["/nowhere/libnone.so", "libnone.so", __file__])
    def test_open(self, path: str) -> None:
        """§4 REFUSED 3: the text is the linker's message, and a path must be absolute."""
        with Worker() as worker:
            kind, payload = worker.start(path)

            assert kind == REFUSED
            assert refused(payload)[:2] == (3, 0)
            assert os.fsencode(path) in refused(payload)[2]
            assert worker.wait() == 3

    def test_symbols(self, compile_plugin: CompilePlugin) -> None:
        """§4 REFUSED 4: the text names the missing functions, one per line."""
        source = PROBE.replace("backworks_plugin_free_string", "other").replace("backworks_plugin_name", "other2")
        source = "void other(char *, size_t);\nconst char *other2(void);\n" + source
        source = source.replace("void other", "#include <stddef.h>\nvoid other", 1)
        with Worker() as worker:
            kind, payload = worker.start(compile_plugin(source, "lacking", ["-pthread"]))

            assert kind == REFUSED
            assert refused(payload) == (4, 0, b"backworks_plugin_name\nbackworks_plugin_free_string")

    def test_abi(self, compile_plugin: CompilePlugin) -> None:
        """§4 REFUSED 5: a library of another ABI version is refused with that number; nothing else is called."""
        with Worker() as worker:
            kind, payload = worker.start(made(compile_plugin, ABI="77u", NAME="(abort(),NULL)"))

            assert kind == REFUSED
            assert refused(payload) == (5, 77, b"")

    def test_init_fails(self, compile_plugin: CompilePlugin) -> None:
        """§4 REFUSED 6: init's response is complete, as in a REPLY."""
        init = 'return error->http_status=418,error->content_type="a/b",error->content_type_size=3,'
        init += 'backworks_fail(error,9,"not today")'
        with Worker() as worker:
            kind, payload = worker.start(made(compile_plugin, INIT=init))
            stage, detail, reply = refused(payload)

            assert (kind, stage, detail) == (REFUSED, 6, 9)
            assert answer(reply) == Answer(9, b"not today", 418, b"a/b")
            assert worker.wait() == 3

    def test_init_without_instance(self, compile_plugin: CompilePlugin) -> None:
        """§4 REFUSED 6: an init that returns OK and no instance."""
        with Worker() as worker:
            kind, payload = worker.start(made(compile_plugin, INSTANCE="NULL"))
            stage, detail, reply = refused(payload)

            assert (kind, stage, detail) == (REFUSED, 6, 0)
            assert answer(reply) == Answer(0, None)

    def test_init_breaks_the_rules(self, compile_plugin: CompilePlugin) -> None:
        """§4 REFUSED 6: an init that returns OK, an instance and an invalid response; the instance is shut down."""
        with Worker() as worker:
            kind, payload = worker.start(made(compile_plugin, INIT="error->size=7"))
            stage, detail, reply = refused(payload)

            assert (kind, stage, detail) == (REFUSED, 6, 0)
            assert answer(reply) == Broken(0, 1, 7)
            assert worker.wait() == 3
            assert (20, b"shut down") in worker.records()


class TestCall:
    """Sections 5 and 6."""

    def test_request(self, probe: Path) -> None:
        """§5 CALL: the plugin receives every field unchanged; a missing trace is NULL, and an empty one is not."""
        with Worker() as worker:
            worker.ready(probe)
            full = worker.call(b"all", b"data", b"PUT", time_left=12345, traceparent=b"t-p", tracestate=b"")
            bare = worker.call(b"all", tracestate=b"s")

            assert full == Answer(0, b"96 0 all|PUT|data|12345|1 t-p|1 ")
            assert bare == Answer(0, b"96 0 all|GET||0|0 |1 s")

    @pytest.mark.parametrize(
        ("endpoint", "expected"),
        [
            (b"none", Answer(0, None)),
            (b"empty", Answer(0, b"")),
            (b"fields", Answer(0, b"x", 299, b"text/plain", b"A: b\r\n")),
            (b"borrowed", Answer(0, b"text/x-insid", 0, b"text/x-insid")),
            (b"fail", Answer(-7, b"no")),
            (b"null", Broken(0, 1, 7)),
            (b"claim", Broken(3, 1, 10 << 30)),
            (b"type", Broken(0, 2, 1, 9)),
            (b"headers", Broken(0, 3, 1, NONE, NONE - 1)),
        ],
    )
    def test_answers(self, probe: Path, endpoint: bytes, expected: Answer | Broken) -> None:
        """§6 REPLY: after a valid or invalid response of any shape, the worker continues as before."""
        with Worker() as worker:
            worker.ready(probe)

            assert worker.call(endpoint) == expected
            assert worker.call(b"echo", b"still here") == Answer(0, b"still here")

    def test_freed_once(self, probe: Path) -> None:
        """§6: free_string is called once for each response with data, including errors and invalid ones."""
        with Worker() as worker:
            worker.ready(probe)
            counts = [worker.data(b"freed")]
            for endpoint in (b"none", b"null", b"fail", b"empty", b"claim", b"headers"):
                worker.call(endpoint)
                counts.append(worker.data(b"freed"))
            worker.call(b"echo", bytes(1 << 20))
            counts.append(worker.data(b"freed"))

            assert counts == [b"0", b"1", b"2", b"4", b"6", b"8", b"10", b"12"]

    @pytest.mark.parametrize("size", [13, 100013])
    def test_crash_when_freed(self, probe: Path, size: int) -> None:
        """§6: if free_string crashes, its call has no complete reply, small or large."""
        with Worker() as worker:
            worker.ready(probe)
            worker.send(CALL, call(b"echo", bytes(size)))

            assert worker.replies.read() is None
            assert worker.wait() == -6

    @pytest.mark.parametrize("size", [b"5", b"70000"])
    def test_pointer_to_nowhere(self, probe: Path, size: bytes) -> None:
        """§6: a response at an invalid address ends the process with SIGSEGV, small or large."""
        if "ASAN_OPTIONS" in os.environ:
            pytest.skip("a sanitizer ends the process in its own way")
        with Worker() as worker:
            worker.ready(probe)
            worker.send(CALL, call(b"nowhere", size))

            assert worker.replies.read() is None
            assert worker.wait() == -11

    @pytest.mark.parametrize("limit", [1, 65536])
    def test_max_output(self, probe: Path, limit: int) -> None:
        """§4 START, §6: a response or an error may have as much data as START allows, and no more."""
        with Worker() as worker:
            worker.ready(probe, max_output=limit)

            assert worker.call(b"echo", bytes(limit)) == Answer(0, bytes(limit))
            assert worker.call(b"echo", bytes(limit + 1)) == Broken(0, 1, limit + 1)

    def test_sizes(self, probe: Path) -> None:
        """§2: frames of all sizes around each threshold are complete in both directions."""
        sizes = [0, 1, 4096, *range(65536 - 60, 65536 + 3), 65536 * 2, 1 << 20, (5 << 20) + 1]
        with Worker() as worker:
            worker.ready(probe)
            for size in sizes:
                data = random.Random(size).randbytes(size)

                assert worker.call(b"echo", data) == Answer(0, data)

    def test_pieces(self, probe: Path) -> None:
        """§2: a frame may arrive byte by byte, or together with the next one; replies keep the order."""
        frame = call(b"echo", b"pieces")
        frames = b"".join(header(len(frame), CALL, number) + frame for number in (7, 2**64 - 1, 9))
        with Worker() as worker:
            worker.ready(probe)
            for byte in frames:
                worker.send_bytes(bytes([byte]))
            worker.send_bytes(frames)
            replies = [worker.replies.read() for _ in range(6)]

            assert [reply and reply[:2] for reply in replies] == [(REPLY, n) for n in (7, 2**64 - 1, 9) * 2]
            assert all(reply and answer(reply[2]).data == b"pieces" for reply in replies)

    def test_large_frames_follow_each_other(self, probe: Path) -> None:
        """§2: data read beyond the end of a large frame belongs to the next frame."""
        bodies = [bytes([n]) * size for n, size in enumerate((70000, 3, 200000, 65500, 100000, 0, 70000))]
        frames = [call(b"echo", body) for body in bodies]
        with Worker() as worker:
            worker.ready(probe)
            data = b"".join(header(len(frame), CALL, n) + frame for n, frame in enumerate(frames))
            writer = threading.Thread(target=worker.send_bytes, args=(data,))
            writer.start()
            replies = [worker.replies.read() for _ in frames]
            writer.join()

            assert [reply and answer(reply[2]).data for reply in replies] == bodies


class TestOthers:
    """Section 5: HEALTH, RECONFIGURE, SHUTDOWN."""

    def test_without_functions(self, probe: Path) -> None:
        """§5: without health_check or reconfigure in the library, the reply has code 12."""
        with Worker() as worker:
            worker.ready(probe)

            assert answer(worker.ask(HEALTH)[1]) == Answer(12, None)
            assert answer(worker.ask(RECONFIGURE, b"{}")[1]) == Answer(12, None)

    def test_with_functions(self, whole: Path) -> None:
        """§5: their answers are a REPLY like any other; a configuration may be large."""
        with Worker() as worker:
            worker.ready(whole)

            assert answer(worker.ask(HEALTH)[1]) == Answer(14, b"ill")
            assert answer(worker.ask(RECONFIGURE, b"c" * 100000)[1]) == Answer(0, b"c" * 100000)

    def test_shutdown(self, probe: Path) -> None:
        """§5 SHUTDOWN: the reply has the function's code, the last records arrive, and the process exits with 0."""
        with Worker() as worker:
            kind, payload = worker.ready(probe).ask(SHUTDOWN)

            assert (kind, answer(payload)) == (REPLY, Answer(5, None))
            assert worker.replies.read() is None
            assert worker.wait() == 0
            assert worker.records() == [(20, b"{}"), (20, b"shut down")]
            assert worker.errors() == b""


GOOD = call(b"e", b"data")


class TestBroken:
    """Section 3: an invalid frame ends the worker with code 4 and a sentence."""

    @pytest.mark.parametrize(
        "frame",
        [
            header(0, 0),
            header(0, 6),
            header(0, 129),
            header(0, HEALTH, zeros=b"\0\0\1"),
            header(1, HEALTH) + b"x",
            header(1, SHUTDOWN) + b"x",
            header(31, CALL) + bytes(31),
            header((1 << 30) + (1 << 20) + 1, CALL),
            header(0xFFFFFFFF, RECONFIGURE),
            header(len(GOOD) - 1, CALL) + GOOD[:-1],
            header(len(GOOD) + 1, CALL) + GOOD + b"x",
            header(32, CALL) + struct.pack("<QIIIIQ", 0, 0, 0, 0, 0, NO_DATA),
            header(32, CALL) + struct.pack("<QIIIIQ", 0, NONE, NONE, 0, 0, 0),
            header(32, CALL) + struct.pack("<QIIIIQ", 0, 0, 0, NONE - 1, 0, 0),
            header(32 + 65537, CALL) + struct.pack("<QIIIIQ", 0, 65537, 0, NONE, NONE, 0) + bytes(65537),
            header(56, START) + bytes(56),
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ],
        ids=str,
    )
    def test_in_running(self, probe: Path, frame: bytes) -> None:
        """§3, §8: an unknown kind, a wrong size, sizes that do not add up, or a second START."""
        with Worker() as worker:
            worker.ready(probe).send_bytes(frame)

            assert worker.replies.read() is None
            assert worker.wait() == 4
            assert re.fullmatch(rb"backworks-worker: the host sent a malformed frame: .*\n", worker.errors())

    @pytest.mark.parametrize(
        "frame",
        [
            header(len(GOOD), CALL) + GOOD,
            header(0, HEALTH),
            header(2, RECONFIGURE) + b"{}",
            header(0, SHUTDOWN),
            header(3, START) + b"\1\0\0",
            header(4, START) + b"\1\0\0\0",
            header(56, START) + start(b""),
            header(57, START) + start(b"") + b"x",
            header(56, START) + struct.pack("<IIQQQQQII", 1, 0, 0, 0, 0, 0, 0, NONE, NONE),
            header(56 + 131073, START) + start(b"/" * 131073, b""),
        ],
        ids=lambda frame: str(frame[:64]),
    )
    def test_in_born(self, frame: bytes) -> None:
        """§3, §8: a request before START, or an incomplete START."""
        with Worker() as worker:
            worker.send_bytes(frame)

            assert worker.replies.read() is None
            assert worker.wait() == 4

    def test_any_bytes(self, probe: Path) -> None:
        """§3: for any change in a valid conversation, the worker replies with frames or exits with its own codes."""
        good = start(probe), GOOD, b"", b"{}", b""
        whole = b"".join(
            header(len(p), k) + p for p, k in zip(good, (START, CALL, HEALTH, RECONFIGURE, 5), strict=True)
        )
        dice = random.Random(4)
        for _ in range(60):
            data = bytearray(whole)
            for _ in range(dice.randrange(1, 4)):
                at = dice.choice((dice.randrange(72), dice.randrange(len(data))))
                if at not in range(24, 56):  # the limits: with any of them the plugin may not live
                    data[at] = dice.randrange(256)
            with Worker() as worker:
                worker.send_bytes(bytes(data))
                worker.requests.close()
                while (frame := worker.replies.read()) is not None:
                    assert frame[0] in (READY, REPLY, REFUSED)

                assert worker.wait() in (0, 3, 4, 5, -9), worker.errors()


class TestLog:
    """Section 7."""

    @pytest.mark.parametrize(("size", "kept"), [(0, 0), (1, 1), (65536, 65536), (65537, 65536), (1 << 20, 65536)])
    def test_cut(self, probe: Path, size: int, kept: int) -> None:
        """§7: level and text arrive unchanged; text beyond 65,536 bytes is cut off."""
        records: list[object] = []
        with Worker() as worker:
            reader = threading.Thread(target=lambda: records.extend(worker.records()))
            reader.start()
            worker.ready(probe).call(b"log", b"\xff" * size)
            worker.ask(SHUTDOWN)
            reader.join()

            assert records[1:-1] == [(35, b"\xff" * kept)]

    def test_threads(self, probe: Path) -> None:
        """§7: records of several threads never mix."""
        records: list[tuple[int, bytes]] = []
        with Worker() as worker:
            reader = threading.Thread(target=lambda: records.extend(worker.records()))
            reader.start()
            worker.ready(probe).call(b"chatter")
            worker.ask(SHUTDOWN)
            reader.join()

        texts = [text for level, text in records if level == 10]
        dropped = sum(int(text.split()[0]) for level, text in records if level == 30)
        assert texts == [b"x" * len(text) for text in texts]
        assert {len(text) for text in texts} <= {50 * i for i in range(200)}
        assert len(texts) + dropped == 800

    @pytest.mark.parametrize("size", [100, 5000, 65536])
    def test_nobody_reads(self, probe: Path, size: int) -> None:
        """§7: a full pipe delays the plugin once and briefly; dropped records are complete and counted."""
        with Worker() as worker:
            worker.ready(probe)
            for _ in range(3):
                worker.call(b"log 400", b"y" * size)
            before = waits(worker.process.pid)
            worker.call(b"log 400", b"y" * size)
            waited = waits(worker.process.pid) - before
            for _ in range(3):
                worker.log.drain()
                worker.call(b"log", b"later")
            worker.ask(SHUTDOWN)
            records = worker.records()

        texts = [text for level, text in records if level == 20][1:-1]
        told = [int(text.split()[0]) for level, text in records if level == 30]
        later = [text for level, text in records if level == 35]
        assert waited < 100  # of 400 records, the first at most waits
        assert texts == [b"y" * size] * len(texts)
        assert later[-1] == b"later"
        assert len(texts) + len(later) + sum(told) == 4 * 400 + 3
        assert len(told) in (1, 2)

    def test_closed(self, probe: Path) -> None:
        """§7: records that cannot be read any more are dropped, and the worker continues."""
        with Worker() as worker:
            worker.ready(probe)
            spare = os.dup(worker.log.descriptor)
            os.close(worker.log.descriptor)
            os.close(spare)
            worker.log.descriptor = os.open(os.devnull, os.O_RDONLY)

            assert worker.call(b"log", b"gone") == Answer(0, None)
            assert worker.call(b"log", b"gone") == Answer(0, None)


def waits(process: int) -> int:
    """Returns how often the threads of a process have waited, or 0 if the system does not count that."""
    statuses = [task / "status" for task in Path(f"/proc/{process}/task").glob("*")]
    found = re.findall(r"^voluntary_ctxt_switches:\s(\d+)", "".join(s.read_text() for s in statuses), re.MULTILINE)
    return sum(map(int, found))


def test_sections() -> None:
    """The sections that these tests name exist in PROTOCOL.md."""
    sections = re.findall(r"^## (\d)\. ", SECTIONS.read_text(encoding="utf-8"), re.MULTILINE)

    assert sections == [str(n) for n in range(1, 10)]


def test_echo(compile_plugin: CompilePlugin) -> None:
    """A plugin made with the helpers of the header runs in a worker."""
    with Worker() as worker:
        assert worker.ready(compile_plugin(ECHO)).data(b"/any", b"hello") == b"hello"
