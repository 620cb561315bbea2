"""The numbers of the HTTP side, for Prometheus.

They are counted in the event loop's thread alone, with plain integers and no lock, which costs a fraction of what the
counters of ``prometheus_client`` do. That library writes them out, and is imported when they are first asked for.

=================================  ====================  ==========================================================
``backworks_calls_total``          plugin, code          calls that are over; ``code`` is the plugin's, by name
``backworks_call_seconds``         plugin                how long they were waited for (a histogram)
``backworks_calls_in_flight``      plugin                calls that are being waited for
``backworks_plugin_up``            plugin                1 where the plugin runs
``backworks_http_requests_total``  route, method,        requests that were answered; ``route`` as the configuration
                                   status                writes it, ``unmatched`` where none matched; 499 for a client
                                                         that hung up
=================================  ====================  ==========================================================

Where several processes serve (``server.workers``), any of them tells the numbers of all; see
:mod:`backworks.http.sharing`. ``backworks_plugin_up`` is that of the one that was asked.

No label takes its value from a client: a method that nobody knows is counted as ``OTHER``.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from backworks.errors import Code

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.core import Metric

    from backworks.http.sharing import Shared
    from backworks.manager import PluginManager

__all__ = ["UNMATCHED", "CallNumbers", "Metrics"]

#: The route of a request that no endpoint matches.
UNMATCHED = "unmatched"

#: Upper bounds in seconds: from a C function in this process to the longest that anybody waits.
_BOUNDS = (1e-5, 1e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_METHODS = frozenset(("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"))


class CallNumbers:
    """The calls of one plugin."""

    __slots__ = ("buckets", "codes", "in_flight", "seconds")

    def __init__(self) -> None:
        self.in_flight = 0
        self.codes = [0] * len(Code)
        self.buckets = [0] * (len(_BOUNDS) + 1)
        self.seconds = 0.0

    def done(self, code: Code, seconds: float) -> None:
        """Counts a call that is over."""
        self.codes[code] += 1
        self.buckets[bisect_left(_BOUNDS, seconds)] += 1
        self.seconds += seconds


class Metrics:
    """The numbers of one application."""

    def __init__(self) -> None:
        self._plugins: dict[str, CallNumbers] = {}
        self._requests: dict[tuple[str, str, int], int] = {}
        self._shared: Shared | None = None

    def of_plugin(self, plugin: str) -> CallNumbers:
        """Finds the numbers of a plugin's calls."""
        return self._plugins.setdefault(plugin, CallNumbers())

    def answered(self, route: str, method: str, status: int) -> None:
        """Counts a request."""
        try:
            self._requests[route, method, status] += 1
        except KeyError:
            key = (route, method if method in _METHODS else "OTHER", status)
            self._requests[key] = self._requests.get(key, 0) + 1

    def share_by(self, shared: Shared) -> None:
        """Shares the numbers with other processes, and goes on from those of one whose place this one takes."""
        self._shared = shared
        if (before := shared.before()) is not None:
            self._add(before)
            for numbers in self._plugins.values():
                numbers.in_flight = 0

    def share(self) -> None:
        """Lets the other processes know."""
        if self._shared is not None:
            self._shared.write(self._state())

    def exposition(self, manager: PluginManager, accept: str) -> tuple[bytes, str]:
        """Writes everything as OpenMetrics or as Prometheus' own text, as the client asks.

        Args:
            manager: What has the plugins.
            accept: The request's Accept.

        Returns:
            The text and its content type.
        """
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder

        up = {name: plugin.state == "running" for name, plugin in manager.plugins.items()}
        up |= dict.fromkeys(manager.failed, False)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(self._of_all(), up))
        encode, content_type = choose_encoder(accept)
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
            plugin: {slot: getattr(numbers, slot) for slot in CallNumbers.__slots__}
            for plugin, numbers in self._plugins.items()
        }
        return {"plugins": plugins, "requests": [[*key, count] for key, count in self._requests.items()]}

    def _add(self, state: dict[str, Any]) -> None:
        for plugin, more in state["plugins"].items():
            numbers = self.of_plugin(plugin)
            numbers.in_flight += more["in_flight"]
            numbers.seconds += more["seconds"]
            numbers.codes = [a + b for a, b in zip(numbers.codes, more["codes"], strict=True)]
            numbers.buckets = [a + b for a, b in zip(numbers.buckets, more["buckets"], strict=True)]
        for route, method, status, count in state["requests"]:
            self._requests[route, method, status] = self._requests.get((route, method, status), 0) + count

    def families(self, up: Mapping[str, bool]) -> Iterator[Metric]:
        """Makes what ``prometheus_client`` writes.

        Args:
            up: Plugin to whether it runs.
        """
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        calls = CounterMetricFamily(
            "backworks_calls", "Calls that are over, by what the plugin answered.", labels=("plugin", "code")
        )
        seconds = HistogramMetricFamily(
            "backworks_call_seconds", "How long calls were waited for, in seconds.", labels=("plugin",)
        )
        in_flight = GaugeMetricFamily(
            "backworks_calls_in_flight", "Calls that are being waited for.", labels=("plugin",)
        )
        for plugin, numbers in self._plugins.items():
            for code, count in enumerate(numbers.codes):
                if count:
                    calls.add_metric((plugin, Code(code).name), count)
            seconds.add_metric((plugin,), list(_cumulated(numbers.buckets)), numbers.seconds)
            in_flight.add_metric((plugin,), numbers.in_flight)
        plugin_up = GaugeMetricFamily("backworks_plugin_up", "1 where the plugin runs.", labels=("plugin",))
        for plugin, runs in up.items():
            plugin_up.add_metric((plugin,), int(runs))
        requests = CounterMetricFamily(
            "backworks_http_requests", "Requests that were answered.", labels=("route", "method", "status")
        )
        for (route, method, status), count in self._requests.items():
            requests.add_metric((route, method, str(status)), count)
        yield from (calls, seconds, in_flight, plugin_up, requests)


class _Collector:
    """What a registry of ``prometheus_client`` asks."""

    def __init__(self, metrics: Metrics, up: Mapping[str, bool]) -> None:
        self._metrics = metrics
        self._up = up

    def collect(self) -> Iterable[Metric]:
        return self._metrics.families(self._up)


def _cumulated(buckets: Iterable[int]) -> Iterator[tuple[str, float]]:
    from prometheus_client.utils import floatToGoString

    total = 0
    for bound, count in zip((*_BOUNDS, float("inf")), buckets, strict=True):
        total += count
        yield floatToGoString(bound), total  # type: ignore[no-untyped-call]  # it has no annotations
