"""Circuit breaker, queue limits, health checks and metrics."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import ECHO, CompilePlugin
from gate import GATED, PATIENCE, Gate
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from test_http_app import Client
from test_plugin import in_thread
from unruly import CRASHED

import backworks
from backworks import BackworksPlugin, Code, PluginManager
from backworks.ffi.contract import Reply
from backworks.http import create_app
from backworks.isolation.admission import Admission, Ending, State
from backworks.isolation.breaker import TRANSITIONS, CircuitBreaker, Position
from backworks.observing.health import HealthMonitor
from backworks.observing.memory import memory_of
from backworks.plugin import Plugin, PluginInfo
from backworks.settings import Breaker

#: A plugin that returns the code in the data, a number of one or two digits, and an invalid HTTP status for the
#: endpoint /broken.
CODES = ECHO.replace(
    "  return backworks_answer(response, request->data, request->data_size);",
    """  int code = 0;
  response->http_status = request->endpoint_size == sizeof "/broken" - 1 ? 999 : 0;
  for (size_t i = 0; i < request->data_size; i++) {
    code = code * 10 + request->data[i] - '0';
  }
  return code ? backworks_fail(response, code, "as told") : backworks_answer(response, "0", 1);""",
)


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        """Starts at an arbitrary time."""
        self.now = 1000.0

    def __call__(self) -> float:
        """Returns the time."""
        return self.now


class Events(list[str]):
    """A breaker with its reported events and its clock."""

    def __init__(self, *settings: Any) -> None:
        """Creates a closed breaker from failures, window, open and probes."""
        super().__init__()
        self.clock = Clock()
        self.breaker = CircuitBreaker(Breaker(*settings), moved=self.append, clock=self.clock)

    def enter(self) -> int:
        """Starts a call."""
        period = self.breaker.enter()
        assert period is not None
        return period

    def fail(self, times: int = 1) -> None:
        """Starts calls that fail."""
        for _ in range(times):
            self.breaker.fail(self.enter())


def at(position: Position) -> Events:
    """Creates a breaker (2 failures in 10 s, 5 s open, 2 probes) in a given position."""
    events = Events(2, 10.0, 5.0, 2)
    if position is not Position.CLOSED:
        events.fail(2)
    if position is Position.HALF_OPEN:
        events.clock.now += 5
        events.breaker.withdraw(events.enter())
    assert events.breaker.position is position
    events.clear()
    return events


class TestBreaker:
    """The table of positions and events."""

    @pytest.mark.parametrize("position", Position)
    @pytest.mark.parametrize(
        "event", ["success", "failure", "failure, success, failure", "failures", "failures far apart", "nothing"]
    )
    def test_table(self, position: Position, event: str) -> None:
        """Each event in each position leads to the table's next position."""
        events = at(position)
        breaker = events.breaker
        before = [breaker.enter(), breaker.enter()]
        if position is Position.OPEN:
            assert before == [None, None]
            assert breaker.retry_after == 5
            return
        first, second = (period for period in before if period is not None)
        match event:
            case "success":
                breaker.succeed(first)
                breaker.succeed(second)
            case "failure":
                breaker.fail(first)
                breaker.withdraw(second)
            case "failure, success, failure":
                breaker.fail(first)
                breaker.succeed(second)
                breaker.fail(second)
            case "failures":
                breaker.fail(first)
                breaker.fail(second)
            case "failures far apart":
                breaker.fail(first)
                events.clock.now += 11
                breaker.fail(second)
            case "nothing":
                breaker.withdraw(first)
                breaker.withdraw(second)

        wanted = {
            (Position.CLOSED, "failures"): (Position.OPEN, ["too many failed"]),
            (Position.HALF_OPEN, "success"): (Position.CLOSED, ["probes succeeded"]),
            (Position.HALF_OPEN, "failure"): (Position.OPEN, ["probe failed"]),
            (Position.HALF_OPEN, "failure, success, failure"): (Position.OPEN, ["probe failed"]),
            (Position.HALF_OPEN, "failures"): (Position.OPEN, ["probe failed"]),
            (Position.HALF_OPEN, "failures far apart"): (Position.OPEN, ["probe failed"]),
        }.get((position, event), (position, []))
        assert (breaker.position, list(events)) == wanted

    def test_time(self) -> None:
        """The breaker stays open for its configured time only, and reports the remaining time."""
        events = at(Position.OPEN)
        events.clock.now += 4.5

        assert events.breaker.enter() is None
        assert events.breaker.retry_after == 0.5
        events.clock.now += 0.5
        assert events.breaker.enter() is not None
        assert events.breaker.position is Position.HALF_OPEN
        assert events == ["time is over"]

    def test_probes(self) -> None:
        """A half-open breaker admits a limited number of probes; a call without a result frees its place."""
        events = at(Position.HALF_OPEN)
        first = events.enter()
        events.enter()

        assert events.breaker.enter() is None
        events.breaker.withdraw(first)
        assert events.breaker.enter() is not None
        assert events.breaker.enter() is None

    def test_late(self) -> None:
        """The result of a call that began before a transition does not count."""
        events = at(Position.CLOSED)
        early = [events.enter() for _ in range(4)]
        events.fail(2)
        events.clock.now += 5
        events.enter()
        for period in early:
            events.breaker.fail(period)
            events.breaker.succeed(period)
            events.breaker.withdraw(period)

        assert events.breaker.position is Position.HALF_OPEN
        assert events == ["too many failed", "time is over"]


class BreakerMachine(RuleBasedStateMachine):
    """Compares the breaker with a model that keeps the whole history."""

    # Invariant: the breaker makes only transitions in its table, admits no more probes than allowed while half-open,
    # and never rejects calls for longer than its open time unless probes are in flight.

    def __init__(self) -> None:
        """Starts with a closed breaker."""
        super().__init__()
        self.events = Events(3, 10.0, 5.0, 2)
        self.position = Position.CLOSED
        self.inside: list[tuple[int, Position]] = []
        self.moves = 0

    @rule()
    def call(self) -> None:
        """A call asks for admission."""
        breaker = self.events.breaker
        period = breaker.enter()
        if period is None:
            assert breaker.position is not Position.CLOSED
            if breaker.position is Position.OPEN:
                assert 0 < breaker.retry_after <= 5
        else:
            self.inside.append((period, breaker.position))

    @precondition(lambda self: self.inside)
    @rule(data=st.data(), outcome=st.sampled_from(["succeed", "fail", "withdraw"]))
    def leave(self, data: st.DataObject, outcome: str) -> None:
        """A call ends."""
        period, _ = self.inside.pop(data.draw(st.integers(0, len(self.inside) - 1)))
        getattr(self.events.breaker, outcome)(period)

    @rule(seconds=st.sampled_from([0.1, 4.0, 5.0, 11.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.events.clock.now += seconds

    @invariant()
    def moves_by_the_table(self) -> None:
        """Each transition is in the table and is reported once."""
        for event in self.events[self.moves :]:
            self.position = TRANSITIONS[self.position, event]
        self.moves = len(self.events)

        assert self.events.breaker.position is self.position

    @invariant()
    def few_probes(self) -> None:
        """A half-open breaker has at most the allowed number of probes in flight."""
        breaker = self.events.breaker
        if breaker.position is Position.HALF_OPEN and self.inside:
            newest = max(period for period, _ in self.inside)
            probes = [period for period, position in self.inside if period == newest and position is Position.HALF_OPEN]
            assert len(probes) <= 2


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("isolation", ["none", "thread"])
class TestGuard:
    """The breaker of a plugin."""

    def manager(self, compile_plugin: CompilePlugin, isolation: str, **breaker: Any) -> PluginManager:
        """Runs a plugin that fails on request."""
        manager = PluginManager()
        settings = Breaker(**{"failures": 2, "open": 60.0, **breaker})
        manager.load(compile_plugin(CODES, "codes"), plugin_id="codes", isolation=isolation, breaker=settings)
        return manager

    @pytest.mark.parametrize("code", Code)
    def test_codes(self, compile_plugin: CompilePlugin, isolation: str, code: Code) -> None:
        """INTERNAL, UNKNOWN and DATA_LOSS open the breaker; other codes show that the plugin works."""
        with self.manager(compile_plugin, isolation) as manager:
            for _ in range(2):
                with suppress(backworks.PluginError):
                    manager.call("codes", "/", "GET", str(int(code)))
            assert manager.metrics()["codes"].codes == {code: 2}
            breaker = manager.metrics()["codes"].breaker

        assert breaker == ("open" if code in (Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS) else "closed")

    @pytest.mark.parametrize("code", ["0", "3"])
    def test_broken_answer(self, compile_plugin: CompilePlugin, isolation: str, code: str) -> None:
        """A response that violates the ABI opens the breaker, whatever its code."""
        with self.manager(compile_plugin, isolation) as manager:
            for _ in range(2):
                with pytest.raises(backworks.PluginContractError, match="http_status must be 200 to 599 or 0, not 999"):
                    manager.call("codes", "/broken", "GET", code)

            assert manager.metrics()["codes"].breaker == "open"

    def test_refusal(self, compile_plugin: CompilePlugin, isolation: str, caplog: pytest.LogCaptureFixture) -> None:
        """An open breaker rejects calls immediately with the time to wait, and logs its opening once."""
        caplog.set_level(logging.INFO, "backworks.plugin.codes")
        with self.manager(compile_plugin, isolation) as manager:
            for _ in range(2):
                with pytest.raises(backworks.PluginError, match="as told"):
                    manager.call("codes", "/", "GET", "13")
            for _ in range(3):
                with pytest.raises(backworks.PluginUnavailable, match="its circuit breaker is open") as caught:
                    manager.call("codes", "/", "GET", "0")
                assert caught.value.retry_after is not None
                assert 50 < caught.value.retry_after <= 60
            with pytest.raises(backworks.PluginUnavailable):
                asyncio.run(manager.call_async("codes", "/", "GET", "0"))
            numbers = manager.metrics()["codes"]

        assert numbers.codes == {Code.INTERNAL: 2, Code.UNAVAILABLE: 4}
        assert [record.message for record in caplog.records] == [
            "circuit breaker opens for 60 s (consecutive failures: 2)"
        ]

    def test_recovery(self, compile_plugin: CompilePlugin, isolation: str) -> None:
        """After its time a successful call closes it; synchronous and asynchronous calls both count."""
        with self.manager(compile_plugin, isolation, open=0.0) as manager:
            for _ in range(2):
                with pytest.raises(backworks.PluginError, match="as told"):
                    asyncio.run(manager.call_async("codes", "/", "GET", "13"))
            assert manager.metrics()["codes"].breaker == "open"
            assert manager.process_endpoint_data("codes", "/", "GET", "0") == "0"

            assert manager.metrics()["codes"].breaker == "closed"


class TestQueue:
    """The limit of a plugin's calls in threads."""

    def test_full(self, compile_plugin: CompilePlugin) -> None:
        """A call that finds all threads busy and the queue full is rejected immediately; the others get responses."""
        with PluginManager() as manager, Gate() as gate:
            manager.load(compile_plugin(GATED, "gated"), isolation="thread", workers=1, queue=1)
            first = in_thread(lambda: manager.process_endpoint_data("echo", "/", "GET", "1"))
            gate.wait()
            second = in_thread(lambda: manager.process_endpoint_data("echo", "/", "GET", "2"))
            while manager.plugins["echo"].in_flight < 2:
                pass
            for call in (manager.call, lambda *a: asyncio.run(manager.call_async(*a))):
                with pytest.raises(
                    backworks.PluginUnavailable, match=r"its queue is full \(calls running: 1, waiting: 1\)"
                ) as no:
                    call("echo", "/", "GET", "3")
                assert no.value.retry_after == 1
            gate.open()

            assert (first.result(PATIENCE), second.result(PATIENCE)) == ("1", "2")
            assert manager.process_endpoint_data("echo", "/", "GET", "4") == "4"


class FakeRunner:
    """A runner of workers with scripted health."""

    def __init__(self) -> None:
        """Starts with one healthy worker."""
        self.state = State.RUNNING
        self.in_flight = 0
        self.is_inherited = False
        self.restarts = 0
        self.pids = (1, 2)
        self.answers: list[tuple[int, Reply | Exception]] = []
        self.replaced: list[tuple[int, str]] = []

    def check_workers(self, timeout: float) -> list[tuple[int, Reply | Exception]]:
        """Returns the scripted replies."""
        return self.answers

    def replace(self, pid: int, why: str) -> None:
        """Records the replacement."""
        self.replaced.append((pid, why))

    def health_check(self, timeout: float | None) -> Reply:
        """Succeeds."""
        return WELL

    def stop(self) -> None:
        """Does nothing."""

    def end(self, until: float | None, *, empty: bool) -> Ending:
        """Does nothing."""
        return Ending.PEACEFUL

    def process(self, *arguments: Any) -> Reply:
        """Succeeds."""
        return WELL

    async def process_async(self, *arguments: Any) -> Reply:
        """Succeeds."""
        return WELL


WELL = Reply(Code.OK, None, 0, None, None)
ILL = Reply(Code.UNAVAILABLE, b"tired", 0, None, None)


class Patient(BackworksPlugin):
    """A plugin with scripted health."""

    name = "patient"
    version = "1.0.0"

    def __init__(self) -> None:
        """Starts healthy."""
        self.ill = False
        self.asked = threading.Semaphore(0)

    def health_check(self) -> None:
        """Fails if the plugin is ill."""
        self.asked.release()
        if self.ill:
            raise backworks.PluginError("tired", code=Code.UNAVAILABLE)


class TestHealth:
    """Periodic health checks."""

    def test_changes(self, caplog: pytest.LogCaptureFixture) -> None:
        """The first failed check and the first successful one after it are logged, and readiness follows."""
        caplog.set_level(logging.INFO, "backworks.plugin.patient")
        patient = Patient()
        with PluginManager() as manager:
            manager.register_builtin(patient, health_check=3600.0)
            monitor = HealthMonitor(manager.plugins["patient"], 1.0)
            for ill in (False, True, True, False, False):
                patient.ill = ill
                assert monitor.check().ok is not ill

        assert [(record.levelname, record.message) for record in caplog.records] == [
            ("WARNING", "unhealthy: UNAVAILABLE: tired"),
            ("INFO", "healthy again"),
        ]

    def test_interval(self) -> None:
        """The plugin is checked periodically, and its health is the last result."""
        patient = Patient()
        with PluginManager() as manager:
            manager.register_builtin(patient, health_check=0.01)
            for _ in range(3):
                assert patient.asked.acquire(timeout=PATIENCE)
            patient.ill = True
            while manager.health()["patient"].ok:
                pass

            assert manager.health()["patient"].message == "tired"
            assert not manager.is_ready(manager.health())
        while patient.asked.acquire(timeout=0.1):
            pass

    def test_workers(self) -> None:
        """A worker process that fails three checks in a row is replaced; a busy one counts as healthy."""
        runner = FakeRunner()
        info = PluginInfo("fake", "fake", "1.0.0", "", None, None, "process", True)
        plugin = Plugin(info, Admission("fake", runner, breaker=Breaker()), None)
        monitor = HealthMonitor(plugin, 1.0)
        for answers in ([(1, ILL)], [(1, ILL), (2, WELL)], [(1, WELL)], [(1, ILL)], [], [(1, ILL)]):
            runner.answers = answers
            monitor.check()
        assert runner.replaced == []
        runner.answers = [(1, backworks.PluginTimeout("no answer within 1 s", plugin="fake"))]
        found = monitor.check()
        plugin.close()

        assert not found.ok
        assert [pid for pid, _ in runner.replaced] == [1]
        assert "3 health checks in a row failed, the last with 'no answer within 1 s'" in runner.replaced[0][1]


#: A plugin that crashes in two of three calls, which it counts in a file; its configuration is the file's path.
CRASHES = CODES.replace(
    "  int code = 0;",
    """  FILE *file = fopen(plugin->path, "ab+");
  fputc('x', file);
  fseek(file, 0, SEEK_END); /* where that is, not every C library knows before */
  long calls = ftell(file);
  fclose(file);
  if (calls % 3) {
    abort();
  }
  int code = 0;""",
)
CRASHES = (
    CRASHES.replace("  const backworks_host *host;", "  const backworks_host *host;\n  char path[4096];")
    .replace("  (void)plugin;\n", "")
    .replace("  (void)config;\n  (void)config_size;\n", "")
    .replace(
        "  plugin->host = host;",
        """  plugin->host = host;
  char text[4096];
  snprintf(text, sizeof text, "%.*s", (int)config_size, config);
  if (sscanf(text, "{\\"path\\": \\"%4095[^\\"]", plugin->path) != 1) {
    return backworks_fail(error, BACKWORKS_INVALID_ARGUMENT, "no path");
  }""",
    )
)


class TestHttp:
    """Responses to clients when a worker process dies."""

    def app(self, compile_plugin: CompilePlugin, tmp_path: Path, retry: int, **settings: Any) -> Any:
        """Creates a manager and an application with one endpoint."""
        config = {
            "plugins": {
                "it": {
                    "path": str(compile_plugin(CRASHES, "crashes")),
                    "config": {"path": str(tmp_path / "calls")},
                    "restart": {"initial": "1ms", "maximum": "1ms"},
                    **settings,
                }
            },
            "endpoints": {"/": {"methods": ["POST"], "runtime": {"handler": "it"}, "data": "body", "retry": retry}},
        }
        manager = PluginManager.from_config(config)
        return manager, Client(create_app(manager))

    def test_crash(self, compile_plugin: CompilePlugin, tmp_path: Path) -> None:
        """A crash is 502, the next call gets a new worker, and the metrics show both."""
        manager, ask = self.app(compile_plugin, tmp_path, 0)
        with manager:
            answers = [ask("POST", "/", content=b"0") for _ in range(3)]
            text = ask("GET", "/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"}).text
            numbers = manager.metrics()["it"]

        assert [answer.status_code for answer in answers] == [502, 502, 200]
        assert answers[0].json()["plugin"] == "it"
        assert CRASHED["abort"] in answers[0].json()["detail"]
        assert numbers.codes == {Code.OK: 1, Code.INTERNAL: 2}
        assert (numbers.restarts, len(numbers.workers), numbers.breaker) == (2, 1, "closed")
        names = {sample.name for family in parse_openmetrics(text) for sample in family.samples}
        assert {"backworks_worker_restarts_total", "backworks_workers", "backworks_breaker_state"} <= names
        assert 'backworks_worker_restarts_total{plugin="it"} 2.0' in text
        assert 'backworks_breaker_state{backworks_breaker_state="closed",plugin="it"} 1.0' in text
        if sys.platform == "linux":
            assert numbers.workers[0].rss
            assert 'backworks_worker_memory_bytes{kind="pss",plugin="it"}' in text

    @pytest.mark.parametrize(("retry", "status"), [(1, 502), (2, 200)])
    def test_retry(self, compile_plugin: CompilePlugin, tmp_path: Path, retry: int, status: int) -> None:
        """A crashed call is retried up to the endpoint's limit, and counts as one call."""
        manager, ask = self.app(compile_plugin, tmp_path, retry)
        with manager:
            assert ask("POST", "/", content=b"0").status_code == status
            assert manager.metrics()["it"].calls == 1
        assert len((tmp_path / "calls").read_bytes()) == retry + 1

    def test_breaker(self, compile_plugin: CompilePlugin, tmp_path: Path) -> None:
        """An open breaker causes 503 with Retry-After, and a retry does not wait for it."""
        manager, ask = self.app(compile_plugin, tmp_path, 1, breaker={"failures": 2, "open": "1m"})
        with manager:
            first, second = ask("POST", "/", content=b"0"), ask("POST", "/", content=b"0")

        assert (first.status_code, second.status_code) == (502, 503)
        assert 50 < int(second.headers["retry-after"]) <= 60
        assert second.json()["detail"].startswith("its circuit breaker is open")


class TestMetrics:
    """The metrics of a manager."""

    def test_counts(self, compile_plugin: CompilePlugin) -> None:
        """Calls through the manager are counted by code and duration, even without a server."""
        with PluginManager() as manager:
            manager.load(compile_plugin(CODES, "codes"), plugin_id="codes", isolation="none")
            manager.process_endpoint_data("codes", "/", "GET", "0")
            asyncio.run(manager.call_async("codes", "/", "GET", "0"))
            with pytest.raises(backworks.PluginError):
                manager.call("codes", "/", "GET", "5")
            with pytest.raises(backworks.PluginStateError):
                manager.call("nobody", "/")
            numbers = manager.metrics()

        assert set(numbers) == {"codes"}
        one = numbers["codes"]
        assert (one.state, one.calls, one.in_flight, one.restarts, one.workers) == ("running", 3, 0, 0, ())
        assert one.codes == {Code.OK: 2, Code.NOT_FOUND: 1}
        assert one.breaker is None
        assert sum(one.seconds.counts) == 3
        assert len(one.seconds.counts) == len(one.seconds.bounds) + 1
        assert one.seconds.seconds > 0

    def test_in_flight(self, compile_plugin: CompilePlugin) -> None:
        """A running call is in flight."""
        with PluginManager() as manager, Gate() as gate:
            manager.load(compile_plugin(GATED, "gated"), isolation="thread")
            call = in_thread(lambda: manager.call("echo", "/"))
            gate.wait()
            during = manager.metrics()["echo"].in_flight
            gate.open()
            call.result(PATIENCE)

            assert (during, manager.metrics()["echo"].in_flight) == (1, 0)

    def test_threads(self, compile_plugin: CompilePlugin) -> None:
        """No call is lost when many threads count at the same time."""
        with PluginManager() as manager:
            manager.load(compile_plugin(), isolation="none")
            calls = [in_thread(lambda: [manager.call("echo", "/") for _ in range(500)] and None) for _ in range(8)]
            for call in calls:
                call.result(PATIENCE)

            assert manager.metrics()["echo"].calls == 4000

    def test_failed(self, compile_plugin: CompilePlugin) -> None:
        """A plugin that did not start is listed as failed."""
        config = {"plugins": {"ghost": {"path": "/nowhere/ghost.so", "critical": False}}}
        with PluginManager.from_config(config) as manager:
            assert manager.metrics()["ghost"].state == "failed"

    @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
    def test_memory(self) -> None:
        """The memory of a process comes from the operating system; a process that has ended has none."""
        rss, pss = memory_of(os.getpid())

        assert rss is not None
        assert pss is not None
        assert 1 << 20 < pss <= rss
        assert memory_of(2**22 + 1) == (None, None)
