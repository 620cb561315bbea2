"""The round-trip time of one call, by data size: ``python -m benchmarks.calls``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from benchmarks.command import command
from benchmarks.contenders import (
    Floor,
    by_ctypes,
    cffi_lean,
    cffi_peer,
    ctypes_lean,
    extism_peer,
    optional,
    ours,
    peer,
    wasmtime_peer,
)
from benchmarks.harness import Contender, Figure, Sample, interleave, per_call, statement

SIZES = {"64 B": 64, "1 KiB": 1 << 10, "64 KiB": 1 << 16, "16 MiB": 1 << 24}

#: The Python types of the data and the answer.
KINDS = ("str", "bytes")
#: Name of a contender -> the timed statement, and the value of `call` in it.
Ways = dict[str, tuple[str, Callable[..., Any]]]

_THREE = 'call("/echo", "POST", data)'
_THREE_BYTES = 'call("/echo", "POST", data, as_bytes=True)'
_ONE = "call(data)"


def ways(kind: str, stack: ExitStack) -> Ways:
    """Returns the contenders that echo a value of a kind; the stack closes their plugins."""
    is_text = kind == "str"
    found: Ways = {}
    for binding, name in (("native", "Backworks"), ("cffi", "Backworks via cffi"), ("ctypes", "Backworks via ctypes")):
        plugin = stack.enter_context(ours("echo", binding))
        found[name] = (_THREE if is_text else _THREE_BYTES, plugin.process_endpoint_data)
    suffix = "text" if is_text else "data"
    encoded = "call(data.encode()).decode()" if is_text else _ONE
    peers: dict[str, tuple[str, Callable[[], Callable[..., Any]]]] = {
        "nanobind": (_THREE, lambda: getattr(peer("nanobind_peer"), suffix)),
        "nanobind, lean": (_ONE, lambda: getattr(peer("nanobind_peer"), f"lean_{suffix}")),
        "pybind11": (_THREE, lambda: getattr(peer("pybind11_peer"), suffix)),
        "cffi API": (_ONE, lambda: cffi_peer()[not is_text]),
        "cffi API, lean": (_ONE, lambda: cffi_lean()[not is_text]),
        "ctypes by hand": (_ONE, lambda: by_ctypes("echo")[not is_text]),
        "ctypes, lean": (_ONE, lambda: ctypes_lean("echo")[not is_text]),
        "Extism": (encoded, extism_peer),
        "wasmtime": (encoded, wasmtime_peer),
    }
    for name, (code, make) in peers.items():
        with optional(name):
            found[name] = (code, make())
    return found


def contenders(size: int, budget: float, stack: ExitStack) -> Iterator[Contender]:
    """Yields all contenders for one size; those called from Python are named ``str:NAME`` and ``bytes:NAME``."""
    raw = b"x" * size
    floor = Floor()
    yield Contender("C function alone", per_call(floor.call(raw), budget))
    yield Contender("memcpy each way", per_call(floor.copy(raw, fresh=False), budget))
    yield Contender("memcpy each way, fresh memory", per_call(floor.copy(raw, fresh=True), budget))
    for kind, data in zip(KINDS, (raw.decode(), raw), strict=True):
        for name, (code, call) in ways(kind, stack).items():
            yield Contender(f"{kind}:{name}", per_call(statement(code, call=call, data=data), budget))


def figure(quick: bool) -> Figure:
    """Measures the figure."""
    groups: dict[str, dict[str, Sample]] = {}
    for shown, size in SIZES.items():
        with ExitStack() as stack:
            taking_part = list(contenders(size, 0.002 if quick else 0.02, stack))
            found = interleave(taking_part, 5 if quick else 25)
        for kind in KINDS:
            groups[f"{shown}, {kind}"] = {
                name.removeprefix(f"{kind}:"): sample
                for name, sample in found.items()
                if ":" not in name or name.startswith(f"{kind}:")
            }
    return Figure(
        "calls",
        "Round-trip time of one call, lower is better",
        "ns",
        groups,
        ("C function alone", "memcpy each way", "memcpy each way, fresh memory", "nanobind", "ctypes by hand"),
        (
            (
                "Backworks, nanobind and pybind11 take endpoint, method and data and release the interpreter lock; "
                "ctypes, cffi, Extism and wasmtime take only the data. `lean` is the minimum for each: only the data, "
                "no cleanup after an error, and the lock held (except with cffi, which always releases it)."
            ),
            "`Backworks via cffi` and `via ctypes` use its other bindings, for installations without the compiled one.",
            (
                "The C function allocates and copies its answer, which is then freed. `memcpy each way` copies twice "
                "without an allocation; `fresh memory` allocates each time. Both are the same for `str` and `bytes`."
            ),
            "The times include the Python loop around the calls.",
        ),
    )


if __name__ == "__main__":
    sys.exit(command(figure))
