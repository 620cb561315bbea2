"""The metrics of the HTTP server, for Prometheus.

Only the event loop's thread counts, with plain integers and no lock, which costs a fraction of the counters of
``prometheus_client``. That library only formats the metrics, and is imported at the first request for them. Calls that
a program makes through the manager are counted in :mod:`backworks.observing.counters` and included here.

=================================  ====================  ==========================================================
``backworks_calls_total``          plugin, code          completed calls; ``code`` is the name of the plugin's code
``backworks_call_seconds``         plugin                the duration of calls (a histogram)
``backworks_calls_in_flight``      plugin                calls in flight
``backworks_plugin_up``            plugin                1 if the plugin runs
``backworks_breaker_state``        plugin,               1 for the circuit breaker's current state: ``closed``,
                                   backworks_breaker_    ``open`` or ``half-open``
                                   state
``backworks_worker_restarts_total``  plugin              restarts of worker processes
``backworks_workers``              plugin                running worker processes
``backworks_worker_memory_bytes``  plugin, kind          their memory: ``rss``, and ``pss``, which counts shared
                                                         memory once (Linux)
``backworks_http_requests_total``  route, method,        completed requests; ``route`` as in the configuration, or
                                   status                ``unmatched``; status 499 if the client disconnected
=================================  ====================  ==========================================================

If several processes serve (``server.workers``), each reports the counters of all (:mod:`backworks.http.sharing`), but
its own current values (``up``, ``state``, workers, memory).

Clients cannot create label values: unknown methods are counted as ``OTHER``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backworks.errors import Code
from backworks.isolation.breaker import Position
from backworks.observing.counters import BOUNDS, Counters, PluginMetrics, Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.core import Metric

    from backworks.http.sharing import Shared
    from backworks.manager import PluginManager

__all__ = ["UNMATCHED", "Metrics"]

#: The route of a request that no endpoint matches.
UNMATCHED = "unmatched"

_OPEN_METRICS = "application/openmetrics-text"

_METHODS = frozenset(("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"))


class Metrics:
    """The metrics of one application."""

    def __init__(self) -> None:
        self._counters = Counters()
        self._manager: PluginManager | None = None
        self._plugins: dict[str, Tally] = {}
        self._restarts: dict[str, int] = {}  # of other processes
        self._requests: dict[tuple[str, str, int], int] = {}
        self._shared: Shared | None = None

    @property
    def manager(self) -> PluginManager | None:
        """The manager that runs the plugins and counts their calls."""
        return self._manager

    @manager.setter
    def manager(self, manager: PluginManager) -> None:
        self._manager = manager
        self._counters = manager.counters
        self._plugins.clear()

    def of_plugin(self, plugin: str) -> Tally:
        """Returns the counter of a plugin's calls in the event loop's thread."""
        if plugin not in self._plugins:
            self._plugins[plugin] = self._counters.tally(plugin)
        return self._plugins[plugin]

    def answered(self, route: str, method: str, status: int) -> None:
        """Counts a request."""
        try:
            self._requests[route, method, status] += 1
        except KeyError:
            key = (route, method if method in _METHODS else "OTHER", status)
            self._requests[key] = self._requests.get(key, 0) + 1

    def share_by(self, shared: Shared) -> None:
        """Shares the counters with other processes, starting from those of the process that this one replaces."""
        self._shared = shared
        if (before := shared.before()) is not None:
            self._add(before)
            for numbers in self._plugins.values():
                numbers.in_flight = 0

    def share(self) -> None:
        """Publishes the counters to the other processes."""
        if self._shared is not None:
            self._shared.write(self._state())

    def exposition(self, plugins: Mapping[str, PluginMetrics], accept: str) -> tuple[bytes, str]:
        """Formats all metrics as OpenMetrics or Prometheus text, whichever the client accepts.

        Args:
            plugins: The return value of :meth:`backworks.PluginManager.metrics`.
            accept: The Accept header of the request.

        Returns:
            The text and its content type.
        """
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(self._of_all(), plugins))
        # Not the client's header as it is: prometheus_client fails on a version that is not a number.
        accepted = [each.partition(";")[0].strip() for each in accept.split(",")]
        encode, content_type = choose_encoder(f"{_OPEN_METRICS}; version=1.0.0" if _OPEN_METRICS in accepted else "")
        return encode(registry), content_type

    def _of_all(self) -> Metrics:
        if self._shared is None:
            return self
        total = Metrics()
        for state in (self._state(), *self._shared.others()):
            total._add(state)
        return total

    def _state(self) -> dict[str, Any]:
        plugins = {
            plugin: {slot: getattr(numbers, slot) for slot in Tally.__slots__}
            for plugin, numbers in ((plugin, self._counters.total(plugin)) for plugin in self._counters.plugins())
        }
        restarts = dict(self._restarts)
        for plugin, count in ({} if self._manager is None else self._manager.restarts()).items():
            restarts[plugin] = restarts.get(plugin, 0) + count
        requests = [[*key, count] for key, count in self._requests.items()]
        return {"plugins": plugins, "requests": requests, "restarts": restarts}

    def _add(self, state: dict[str, Any]) -> None:
        for plugin, more in state["plugins"].items():
            numbers = self.of_plugin(plugin)
            numbers.in_flight += more["in_flight"]
            numbers.seconds += more["seconds"]
            numbers.codes = [a + b for a, b in zip(numbers.codes, more["codes"], strict=True)]
            numbers.buckets = [a + b for a, b in zip(numbers.buckets, more["buckets"], strict=True)]
        for plugin, count in state["restarts"].items():
            self._restarts[plugin] = self._restarts.get(plugin, 0) + count
        for route, method, status, count in state["requests"]:
            self._requests[route, method, status] = self._requests.get((route, method, status), 0) + count

    def families(self, found: Mapping[str, PluginMetrics]) -> Iterator[Metric]:
        """Yields the metrics in the form that ``prometheus_client`` formats.

        Args:
            found: The return value of :meth:`backworks.PluginManager.metrics`.
        """
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
            StateSetMetricFamily,
        )

        calls = CounterMetricFamily(
            "backworks_calls", "Completed calls by the code that the plugin returned.", labels=("plugin", "code")
        )
        seconds = HistogramMetricFamily(
            "backworks_call_seconds", "The duration of calls in seconds.", labels=("plugin",)
        )
        in_flight = GaugeMetricFamily("backworks_calls_in_flight", "Calls in flight.", labels=("plugin",))
        for plugin in self._counters.plugins():
            numbers = self._counters.total(plugin)
            for code, count in enumerate(numbers.codes):
                if count:
                    calls.add_metric((plugin, Code(code).name), count)
            seconds.add_metric((plugin,), list(_cumulated(numbers.buckets)), numbers.seconds)
            in_flight.add_metric((plugin,), numbers.in_flight)
        plugin_up = GaugeMetricFamily("backworks_plugin_up", "1 if the plugin runs.", labels=("plugin",))
        breaker = StateSetMetricFamily(
            "backworks_breaker_state", "The state of a plugin's circuit breaker.", labels=("plugin",)
        )
        restarts = CounterMetricFamily("backworks_worker_restarts", "Restarts of worker processes.", labels=("plugin",))
        workers = GaugeMetricFamily("backworks_workers", "Running worker processes.", labels=("plugin",))
        memory = GaugeMetricFamily(
            "backworks_worker_memory_bytes", "The memory of worker processes.", labels=("plugin", "kind")
        )
        for plugin, one in found.items():
            plugin_up.add_metric((plugin,), int(one.state == "running"))
            if one.breaker is not None:
                breaker.add_metric((plugin,), {str(state): state == one.breaker for state in Position})
            if one.workers or one.restarts:
                restarts.add_metric((plugin,), self._restarts.get(plugin, one.restarts))
                workers.add_metric((plugin,), len(one.workers))
            for kind in ("rss", "pss"):
                sizes = [size for worker in one.workers if (size := getattr(worker, kind)) is not None]
                if sizes:
                    memory.add_metric((plugin, kind), sum(sizes))
        requests = CounterMetricFamily(
            "backworks_http_requests", "Completed requests.", labels=("route", "method", "status")
        )
        for (route, method, status), count in self._requests.items():
            requests.add_metric((route, method, str(status)), count)
        yield from (calls, seconds, in_flight, plugin_up, breaker, restarts, workers, memory, requests)


class _Collector:
    """A collector for a registry of ``prometheus_client``."""

    def __init__(self, metrics: Metrics, found: Mapping[str, PluginMetrics]) -> None:
        self._metrics = metrics
        self._found = found

    def collect(self) -> Iterable[Metric]:
        return self._metrics.families(self._found)


def _cumulated(buckets: Iterable[int]) -> Iterator[tuple[str, float]]:
    from prometheus_client.utils import floatToGoString

    total = 0
    for bound, count in zip((*BOUNDS, float("inf")), buckets, strict=True):
        total += count
        yield floatToGoString(bound), total  # type: ignore[no-untyped-call]  # it has no annotations
