"""Measures all figures: ``python -m benchmarks``, run by ``make bench`` and ``make bench-quick``."""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback

from benchmarks import BUILD, RESULTS, ROOT, plot, report
from benchmarks.command import check_environment, missing, timed
from benchmarks.harness import Figure
from benchmarks.machine import describe

#: The modules, in the order in which they run.
FIGURES = ("calls", "scaling", "event_loop", "isolated", "server", "routing", "startup", "leak", "server_choice")
#: The modules that a quick run skips.
FULL_ONLY = {"server_choice"}

#: The panels of the overview picture: figure, case, title.
OVERVIEW = (
    ("calls", "64 B, str", "A call with 64 bytes of text (less is better)"),
    ("isolated", "64 B, a processor each", "A call to a worker process (less is better)"),
    ("event_loop", "one call at a time", "An awaited call with 64 bytes (less is better)"),
    ("server", "GET, an answer of 64 B", "HTTP requests per second (more is better)"),
)


def main() -> int:
    """Measures everything, and writes tables and plots after each figure; returns the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks", description="Measures every figure; see benchmarks/README.md.")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="fewer and shorter rounds, into build/bench/quick: to see that it works, not to quote",
    )
    quick = parser.parse_args().quick
    check_environment()
    machine = describe(quick)
    where = BUILD / "quick" if quick else RESULTS
    where.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Figure] = {}
    failed: dict[str, str] = {}
    for name in FIGURES:
        if quick and name in FULL_ONLY:
            continue
        try:
            figures[name] = timed(importlib.import_module(f"benchmarks.{name}").figure, quick)
            report.draw(where, figures[name], machine)
        except Exception as error:  # noqa: BLE001  # keep the figures measured so far
            traceback.print_exc()
            failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
        about = machine | missing()
        if failed:
            about["failed"] = "; ".join(f"{figure} ({reason})" for figure, reason in failed.items())
        report.write(
            where, list(figures.values()), about
        )  # after each figure, so that an interrupted run leaves results
    panels = [plot.Panel(title, figures[name], group) for name, group, title in OVERVIEW if name in figures]
    if panels:
        plot.draw(where / "overview", "The cost of a plugin call, compared with peers", panels, machine)
    print((where / "results.md").read_text(encoding="utf-8"))
    print(f"Written to {where.relative_to(ROOT)}")
    for name, reason in failed.items():
        print(f"bench: {name} was not measured: {reason}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
