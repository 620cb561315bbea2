"""The command line of a figure."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import BUILD, ENVIRONMENT, ROOT, report
from benchmarks.harness import Figure
from benchmarks.machine import describe

__all__ = ["check_environment", "command", "missing", "timed"]


def command(figure: Callable[[bool], Figure]) -> int:
    """Measures one figure, prints its tables, and writes them under build/bench; returns the exit code."""
    parser = argparse.ArgumentParser(description="Measures one figure; see benchmarks/README.md.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: to see that it works")
    quick = parser.parse_args().quick
    check_environment()
    machine = describe(quick)
    found = timed(figure, quick)
    where = BUILD / "single" / found.name
    where.mkdir(parents=True, exist_ok=True)
    report.write(where, [found], machine | missing())
    report.draw(where, found, machine)
    print(report.markdown([found], machine | missing()))
    return 0


def timed(figure: Callable[[bool], Figure], quick: bool) -> Figure:
    """Measures a figure, and prints the duration to stderr."""
    start = time.monotonic()
    found = figure(quick)
    print(f"bench: {found.name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return found


def missing() -> dict[str, str]:
    """Returns the peers that were unavailable so far, as a row for the table of the machine."""
    from benchmarks.contenders import MISSING

    return {"missing": "; ".join(f"{name} ({reason})" for name, reason in MISSING.items())} if MISSING else {}


def check_environment() -> None:
    """Exits with a message unless the installed package with its compiled binding would be measured."""
    if Path(sys.prefix) != ENVIRONMENT:
        sys.exit(
            f"bench: run this in the benchmark environment: make bench-env, then "
            f"{(ENVIRONMENT / 'bin' / 'python').relative_to(ROOT)} -m benchmarks..."
        )
    import backworks
    from backworks import ffi

    home = Path(backworks.__file__).resolve()
    if not home.is_relative_to(ENVIRONMENT):
        sys.exit(f"bench: this would measure {home.parent}, not the installed package")
    if ffi.binding().name != "native":
        sys.exit(f"bench: the binding must be native, not {ffi.binding().name}; unset BACKWORKS_FFI")
