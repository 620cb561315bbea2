"""What one plugin costs on this machine: latency, throughput and memory, for each isolation.

::

    from backworks.authoring.bench import Request, bench

    for found in bench("plugins/weather", Request("/api/weather"), seconds=1.0):
        print(found.isolation, found.latency.median_ns)

The calls are those of any program: :func:`backworks.load`, then ``process_endpoint_data`` in a loop. Each isolation is
measured in a Python process of its own, so that a plugin which takes its process along does not end the measurement
without a word, and so that memory which one isolation left behind is not counted for the next.
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
