"""The C++, Go and Zig SDKs, through a plugin whose behaviour depends on the endpoint, and the real loader."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import missing

import backworks
from backworks import Plugin, sdk
from backworks.authoring.building import Builder
from backworks.authoring.project import SOURCES, create_project
from backworks.errors import Code, PluginCrashed, PluginError, PluginInitError, ToolNotFound

PROBES = Path(__file__).resolve().parent / "kits"
KITS = ["cpp", "go", "zig"]

# The first build in a language may compile and cache parts of its toolchain, which takes minutes for Zig.

#: The ways to run a probe: a Go plugin must run in a worker process.
WAYS = ["cpp-process", "cpp-none", "go-process", "zig-process", "zig-none"]


@pytest.fixture(scope="session", name="build_probe")
def _build_probe(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Builds the probe once for each SDK."""

    @functools.cache
    def build_probe(kit: str) -> Path:
        directory = create_project("probe", kit, tmp_path_factory.mktemp(kit))
        shutil.copy(PROBES / f"probe.{kit}", directory / SOURCES[kit])
        try:
            return Builder(directory, print).build().library
        except ToolNotFound as error:
            missing(str(error))

    return build_probe


@pytest.fixture(name="kit", params=KITS)
def _kit(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(name="library")
def _library(kit: str, build_probe: Callable[[str], Path]) -> Path:
    """The probe of one SDK."""
    return build_probe(kit)


@pytest.fixture(name="probe", params=WAYS)
def _probe(request: pytest.FixtureRequest, build_probe: Callable[[str], Path]) -> Iterator[Plugin]:
    """The loaded probe of one SDK."""
    kit, _, isolation = request.param.partition("-")
    with backworks.load(build_probe(kit), {"a": 1}, isolation=isolation, timeout=None) as plugin:
        yield plugin


def failure(probe: Plugin, endpoint: str, data: str = "") -> tuple[Code, str]:
    """Returns how a call fails, and checks that the next call succeeds."""
    with pytest.raises(PluginError) as caught:
        probe.process_endpoint_data(endpoint, "POST", data)
    assert probe.process_endpoint_data("/echo", "POST", "on") == "on"
    return caught.value.code, caught.value.message


class TestAnswers:
    """Calls that succeed."""

    @pytest.mark.parametrize("data", [b"", b"hello", b"\0\xff\0", b"x" * 5_000_000])
    def test_bytes(self, probe: Plugin, data: bytes) -> None:
        """Any bytes are passed in and out unchanged."""
        result = probe.call("/echo", "POST", data)

        assert result is not None
        assert result.data == data

    def test_not_mine(self, probe: Plugin) -> None:
        """No answer is not an error."""
        assert probe.process_endpoint_data("/none") is None

    def test_request(self, probe: Plugin) -> None:
        """The plugin receives the method, the trace context and the configuration."""
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

        assert probe.process_endpoint_data("/method", "PATCH") == "PATCH"
        assert probe.process_endpoint_data("/config") in ('{"a": 1}', '{"a":1}')
        assert probe.process_endpoint_data("/trace", traceparent=trace, tracestate="a=b") == f"{trace}|a=b"
        assert probe.process_endpoint_data("/trace") == "|"

    def test_deadline(self, probe: Plugin) -> None:
        """The plugin sees whether a call has a deadline."""
        assert probe.process_endpoint_data("/deadline") == "endless"
        assert probe.process_endpoint_data("/deadline", timeout=30.0) == "limited"

    def test_response(self, probe: Plugin) -> None:
        """Status, media type and header fields are returned, and a value cannot inject a field."""
        result = probe.call("/rich")

        assert result is not None
        assert (result.data, result.http_status, result.content_type) == (b"made", 201, "text/csv")
        assert list(result.headers) == [("X-One", "1"), ("X-Two", "2")]
        assert failure(probe, "/smuggle")[0] is Code.INTERNAL

    def test_health(self, probe: Plugin) -> None:
        """The health check returns its status and message."""
        health = probe.health()

        assert (health.ok, health.message) == (True, "well")

    def test_log(self, probe: Plugin, caplog: pytest.LogCaptureFixture) -> None:
        """The plugin's threads can write to the host's log."""
        assert probe.process_endpoint_data("/thread") == ""
        with caplog.at_level("INFO"):
            probe.close()

        assert ("backworks.plugin.probe", 30, "from a thread") in caplog.record_tuples
        assert caplog.record_tuples[-1] == ("backworks.plugin.probe", 20, "ended")


class TestErrors:
    """Calls that fail; the plugin continues to work after each."""

    @pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
    def test_codes(self, probe: Plugin, code: Code) -> None:
        """Every code of the ABI is returned with its message."""
        assert failure(probe, "/code", str(code.value)) == (code, "as you wish")

    @pytest.mark.parametrize("number", [0, -1, 17])
    def test_no_codes(self, probe: Plugin, number: int) -> None:
        """A number that is not an error code becomes UNKNOWN, never success."""
        assert failure(probe, "/code", str(number))[0] is Code.UNKNOWN

    def test_status(self, probe: Plugin) -> None:
        """An error may set its HTTP status."""
        with pytest.raises(PluginError) as caught:
            probe.process_endpoint_data("/status")

        assert (caught.value.code, caught.value.http_status, caught.value.message) == (Code.NOT_FOUND, 410, "gone")

    def test_unclean(self, kit: str, library: Path) -> None:
        """The SDK replaces invalid UTF-8 in a message."""
        with backworks.load(library, isolation="process") as probe:
            code, message = failure(probe, "/unclean")

        assert code is (Code.UNKNOWN if kit == "go" else Code.INTERNAL)
        assert message == {"cpp": "a ??( b é", "go": "a ?( b é", "zig": "a ??( b"}[kit]

    def test_init(self, library: Path) -> None:
        """A plugin that fails to start returns the reason."""
        with pytest.raises(PluginInitError) as caught:
            backworks.load(library, {"refuse": True}, isolation="process")

        assert (caught.value.code, caught.value.message) == (Code.UNAVAILABLE, "not today")

    def test_sick(self, library: Path) -> None:
        """An unhealthy plugin returns the reason."""
        with backworks.load(library, {"sick": True}, isolation="process") as probe:
            health = probe.health()

        assert (health.ok, health.code, health.message) == (False, Code.UNAVAILABLE, "a cold")


class TestBarrier:
    """Faults that would kill the process without an SDK."""

    @pytest.mark.parametrize(
        ("probe", "endpoint", "code", "message"),
        [
            ("cpp-none", "/panic", Code.INTERNAL, "the horror: x"),
            ("cpp-process", "/panic", Code.INTERNAL, "the horror: x"),
            ("cpp-process", "/odd", Code.INTERNAL, "an exception that is not a std::exception"),
            ("cpp-process", "/memory", Code.RESOURCE_EXHAUSTED, "std::bad_alloc"),
            ("cpp-process", "/index", Code.INTERNAL, None),
            ("go-process", "/panic", Code.INTERNAL, "panicked: the horror: x"),
            ("go-process", "/nil", Code.INTERNAL, "panicked: assignment to entry in nil map"),
            ("go-process", "/index", Code.INTERNAL, None),
            ("go-process", "/bad-error", Code.INTERNAL, "panicked: no words"),
            ("go-process", "/bad-text", Code.INTERNAL, None),
            ("zig-process", "/memory", Code.RESOURCE_EXHAUSTED, ""),
            ("zig-process", "/half", Code.NOT_FOUND, ""),
        ],
        indirect=["probe"],
    )
    def test_caught(self, probe: Plugin, endpoint: str, code: Code, message: str | None) -> None:
        """Exceptions and panics of every kind become errors, and the instance continues to work."""
        found, text = failure(probe, endpoint, "x")

        assert found is code
        assert text == message if message is not None else text  # the text of a standard library

    @pytest.mark.parametrize(
        ("kit", "message"), [("cpp", "cannot begin"), ("go", "panicked: cannot begin")], indirect=["kit"]
    )
    def test_init(self, library: Path, message: str) -> None:
        """A fault during init becomes an error."""
        with pytest.raises(PluginInitError) as caught:
            backworks.load(library, {"panic": True}, isolation="process")

        assert (caught.value.code, caught.value.message) == (Code.INTERNAL, message)

    @pytest.mark.parametrize("kit", ["go"], indirect=True)
    def test_time_over(self, library: Path) -> None:
        """The context of a call in Go expires with the caller's timeout."""
        with backworks.load(library, isolation="process") as probe:
            with pytest.raises(PluginError) as caught:
                probe.process_endpoint_data("/wait", timeout=0.3)

        assert caught.value.code is Code.DEADLINE_EXCEEDED

    @pytest.mark.parametrize("kit", ["go"], indirect=True)
    def test_shutdown(self, library: Path, caplog: pytest.LogCaptureFixture) -> None:
        """An error from the shutdown of a Go plugin is logged."""
        backworks.load(library, {"fail-shutdown": 1}, isolation="process").close()

        assert ("backworks.plugin.probe", 40, "shutdown: stuck") in caplog.record_tuples

    @pytest.mark.parametrize("kit", ["zig"], indirect=True)
    @pytest.mark.parametrize(("endpoint", "words"), [("/crash", "panic: the horror"), ("/index", "panic: ")])
    def test_zig(self, library: Path, endpoint: str, words: str) -> None:
        """A panic in Zig kills the worker process, keeps its message, and another process replaces it."""
        with backworks.load(library, isolation="process") as probe:
            with pytest.raises(PluginCrashed) as caught:
                probe.process_endpoint_data(endpoint)
            assert probe.process_endpoint_data("/echo", "POST", "on") == "on"

        assert any(line.startswith(words) for line in caught.value.stderr)


@pytest.mark.skipif(sys.platform == "win32", reason="the driver is written for POSIX")
class TestStructures:
    """The ABI itself, without the host's checks."""

    def test_driver(self, library: Path, cc: list[str], tmp_path: Path) -> None:
        """Structures of every size, NULL, many threads, and answers that outlive their instance are safe."""
        assert drive(library, cc, tmp_path, []) == "fine\n"

    def test_sanitized(self, tmp_path: Path) -> None:
        """The C++ SDK passes under the address and undefined-behaviour sanitizers, without leaks."""
        compiler = shutil.which("clang++") or shutil.which("g++")
        if compiler is None:
            missing("a C++ compiler")
        sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"]
        library = tmp_path / "probe.so"
        command = [compiler, "-std=c++17", "-shared", "-fPIC", *sanitize, f"-I{sdk.path('c')}", f"-I{sdk.path('cpp')}"]
        subprocess.run([*command, str(PROBES / "probe.cpp"), "-o", str(library)], check=True)

        assert drive(library, [compiler, "-x", "c"], tmp_path, sanitize) == "fine\n"


def drive(library: Path, cc: list[str], directory: Path, options: list[str]) -> str:
    """Compiles and runs the driver; returns its output."""
    driver = directory / "driver"
    command = [*cc, "-std=gnu11", "-Wall", "-Wextra", "-Werror", *options, f"-I{sdk.path('c')}"]
    subprocess.run([*command, str(PROBES / "driver.c"), "-o", str(driver), "-ldl", "-lpthread"], check=True)
    done = subprocess.run([str(driver), str(library)], capture_output=True, text=True, check=False)
    print(done.stderr)
    return done.stdout


class TestSources:
    """The source code of the SDKs."""

    @pytest.mark.parametrize("standard", ["c++17", "c++20"])
    @pytest.mark.parametrize("compiler", ["g++", "clang++"])
    def test_cpp(self, compiler: str, standard: str) -> None:
        """The C++ header compiles with every warning enabled."""
        if shutil.which(compiler) is None:
            missing(compiler)
        command = [
            compiler,
            f"-std={standard}",
            "-fsyntax-only",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Wshadow",
            "-Werror",
        ]
        includes = [f"-I{sdk.path('c')}", f"-I{sdk.path('cpp')}"]

        subprocess.run([*command, "-Wno-unused-parameter", *includes, str(PROBES / "probe.cpp")], check=True)

    def test_go(self, tmp_path: Path) -> None:
        """The Go package and template pass gofmt and go vet."""
        if shutil.which("go") is None:
            missing("Go")
        directory = create_project("probe", "go", tmp_path)
        unformatted = subprocess.run(["gofmt", "-l", "."], cwd=directory, capture_output=True, text=True, check=True)
        assert unformatted.stdout == ""

        for place in (directory, directory / "sdk"):
            subprocess.run(["go", "vet", "."], cwd=place, check=True)

    def test_zig(self, tmp_path: Path) -> None:
        """The Zig module and template pass zig fmt."""
        directory = create_project("probe", "zig", tmp_path)
        zig = [sys.executable, "-m", "ziglang"]

        subprocess.run([*zig, "fmt", "--check", str(directory)], check=True)

    def test_rust(self, tmp_path: Path) -> None:
        """The Rust template passes cargo fmt."""
        if shutil.which("cargo") is None:
            missing("Rust's cargo")
        directory = create_project("probe", "rust", tmp_path)

        subprocess.run(["cargo", "fmt", "--check"], cwd=directory, check=True)

    @pytest.mark.parametrize("compiler", ["gcc", "clang"])
    def test_c(self, compiler: str, tmp_path: Path) -> None:
        """The C template compiles with every warning as an error."""
        if shutil.which(compiler) is None:
            missing(compiler)
        directory = create_project("probe", "c", tmp_path)
        command = [compiler, "-std=c11", "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Isdk"]

        subprocess.run([*command, "plugin.c"], cwd=directory, check=True)

    def test_paths(self) -> None:
        """Each SDK is found by its identifying file; an unknown one is rejected with the names of all."""
        for kit, landmark in sdk.KITS.items():
            assert (sdk.path(kit) / landmark).is_file()
        with pytest.raises(ValueError, match="the SDK must be one of 'c', 'cpp', 'rust', 'go', 'zig', not 'ada'"):
            sdk.path("ada")  # type: ignore[arg-type]
