"""Measures the latency, throughput and memory of a plugin with each isolation.

::

    from backworks.authoring.bench import Request, bench

    for found in bench("plugins/weather", Request("/api/weather"), seconds=1.0):
        print(found.isolation, found.latency.median_ns)

The calls are those that any program makes: :func:`backworks.load`, then ``process_endpoint_data`` in a loop. Each
isolation is measured in a separate Python process, so that a crash can be reported, and so that memory left over from
one isolation does not count for the next.
"""

from __future__ import annotations

from backworks.authoring.bench.figures import Latency, LeftOut, Measured, Memory, Request, Throughput
from backworks.authoring.bench.runs import ISOLATIONS, bench, left_out

__all__ = [
    "ISOLATIONS",
    "Latency",
    "LeftOut",
    "Measured",
    "Memory",
    "Request",
    "Throughput",
    "bench",
    "left_out",
]
