"""The worker program's reader under any bytes.

Invariant: whatever comes over its request pipe, the worker takes a frame for that frame, ends with a code of
PROTOCOL.md or waits for more; it never crashes and never reads what is not there.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ECHO, PATIENCE, CompilePlugin, missing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backworks.isolation.process import codec
from backworks.settings import Limits

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="runs the program over POSIX pipes")

ROOT = Path(__file__).resolve().parents[2]
NATIVE = ROOT / "native" / "worker"

#: Seconds of the coverage-guided fuzzer in the suite; it was run for longer by hand.
SECONDS = 4

#: How a worker ends that was sent nonsense: after SHUTDOWN, a start that failed, no frame, no pipe; or its own watcher
#: ends it, because the host seems to be gone.
ENDS = {0, 3, 4, 5, -9}


@pytest.fixture(scope="module", name="program")
def _program() -> Path:
    spec = importlib.util.find_spec("backworks.ffi._native")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parents[1] / "bin" / "backworks-worker"


@pytest.fixture(scope="module", name="start")
def _start(compile_plugin: CompilePlugin) -> bytes:
    library = os.fsencode(compile_plugin(ECHO))
    return codec.encode(codec.START, 1, codec.encode_start(library, b"{}", Limits()))


def run(program: Path, sent: bytes) -> subprocess.CompletedProcess[bytes]:
    """Gives a worker some bytes and closes its pipe."""
    reading, writing = os.pipe()
    try:
        return subprocess.run(
            [program, "--log", str(writing)],
            input=sent,
            capture_output=True,
            pass_fds=(writing,),
            timeout=PATIENCE,
            start_new_session=True,
            check=False,
        )
    finally:
        os.close(reading)
        os.close(writing)


@st.composite
def _frames(draw: st.DrawFn) -> bytes:
    """Frames, each with something wrong or not: kind, size, zeros, payload."""
    kind = draw(st.sampled_from([1, 2, 2, 2, 3, 4, 5, 0, 6, 129, 130, 192, 255]))
    if kind == codec.CALL and draw(st.booleans()):
        head, data = codec.encode_call(draw(st.integers(0, 2**64 - 1)), "/e", "GET", draw(st.binary()), 0, None, None)
        frame = bytearray(head + bytes(data))
    else:
        frame = bytearray(codec.encode(kind, 0, draw(st.binary(max_size=200))))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(frame) - 1))
        frame[at] = draw(st.integers(0, 255))
    return bytes(frame)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=st.lists(_frames(), max_size=5), begun=st.booleans(), rest=st.binary(max_size=20))
def test_program_ends_cleanly(program: Path, start: bytes, frames: list[bytes], begun: bool, rest: bytes) -> None:
    """Any bytes, before and after a good start, are answered with frames and end with a code."""
    done = run(program, (start if begun else b"") + b"".join(frames) + rest)

    assert done.returncode in ENDS, done.stderr
    reader = codec.FrameReader(codec.reply_limits(Limits()))
    left = memoryview(done.stdout)
    while left:
        room = reader.room()
        count = min(len(room), len(left))
        room[:count] = left[:count]
        reader.filled(count)
        left = left[count:]
        while (frame := reader.take()) is not None:
            if frame.kind == codec.REPLY:
                codec.decode_reply(frame.payload, Limits().output)
    assert reader.is_empty or done.returncode == -9


def test_truncated_anywhere(program: Path, start: bytes) -> None:
    """A start that is cut off anywhere ends the worker, and nothing is answered."""
    for length in {0, 1, 15, 16, 17, 71, 72, len(start) - 1}:
        done = run(program, start[:length])

        assert done.returncode in ENDS, (length, done.stderr)
        assert done.stdout == b""


def test_claimed_gibibyte_is_not_allocated(program: Path, start: bytes) -> None:
    """A frame that claims more than it may is refused from its header on."""
    for claimed in (codec.MAX_PAYLOAD + 1, 2**32 - 1):
        done = run(program, start + struct.pack("<IIQ", claimed, codec.CALL, 2))

        assert done.returncode in {4, -9}


def test_coverage_guided(tmp_path: Path, start: bytes) -> None:
    """Some seconds of libFuzzer find nothing in the reader; see reader.c."""
    if shutil.which("clang") is None:
        missing("clang")
    program, corpus = tmp_path / "reader", tmp_path / "corpus"
    command = ["clang", "-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{NATIVE}"]
    command += ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    sources = [Path(__file__).with_name("reader.c"), NATIVE / "pipes.c", ROOT / "native" / "wire" / "frame.c"]
    built = subprocess.run([*command, *sources, "-o", program], capture_output=True, text=True, check=False)
    if "libclang_rt" in built.stderr:
        missing("clang's libFuzzer")
    assert built.returncode == 0, built.stderr
    corpus.mkdir()
    call, data = codec.encode_call(2, "/e", "POST", b"data", 5, "00-ab-cd-01", "a=b")
    for name, seed in {"start": start, "call": call + bytes(data), "both": start + call + bytes(data)}.items():
        (corpus / name).write_bytes(b"\0\0\0\1" + seed)
    seconds = os.environ.get("BACKWORKS_FUZZ_SECONDS", str(SECONDS))
    done = subprocess.run(
        [program, f"-max_total_time={seconds}", "-max_len=200000", "-timeout=20", corpus],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )

    assert done.returncode == 0, done.stdout[-5000:]
