"""Tests that were left out for want of a tool, as a table at the end of a run: see ``missing`` in conftest.py."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import pytest

#: The tool, as :func:`conftest.missing` is told -> how to install it on Debian, where not by ``apt install TOOL``.
INSTALL: Mapping[str, str] = {
    "a C compiler": "apt install gcc",
    "a C compiler with sanitizers": "apt install gcc",
    "a C++ compiler": "apt install g++",
    "clang++": "apt install clang",
    "clang's libFuzzer": "apt install libclang-rt-dev",
    "the extension module": "apt install python3-dev, then make env",
    "the headers of Python": "apt install python3-dev",
    "cibuildwheel": "make env",
    "zizmor": "make env",
    "the Python package lief": "make env",
    "the Python package ziglang": "make env",
    "Zig": "make env",
    "CMake": "apt install cmake",
    "GNU make": "apt install make",
    "Go": "https://go.dev/dl",
    "Rust's cargo": "https://rustup.rs",
    "rustfmt": "rustup component add rustfmt",
    "what cargo fetches": "run it once with a connection to the net",
    "nginx": "apt install nginx-light",
    "nm": "apt install binutils",
    "systemd-analyze": "apt install systemd",
}

_REASON = re.compile(r"Skipped: (.+) is not installed$")


def table(reports: Iterable[pytest.CollectReport | pytest.TestReport]) -> list[str]:
    """Returns the lines of the table, one for each tool; none where no tool was missing.

    Args:
        reports: Of what was skipped.
    """
    reasons = [report.longrepr[2] for report in reports if isinstance(report.longrepr, tuple)]
    tests = Counter(found[1] for reason in reasons if (found := _REASON.match(reason)))
    rows = [(tool, str(count), INSTALL.get(tool, f"apt install {tool}")) for tool, count in sorted(tests.items())]
    if not rows:
        return []
    rows.insert(0, ("tool", "tests", "to install it on Debian"))
    wide = max(len(tool) for tool, _, _ in rows)
    return [f"{tool:<{wide}}  {count:>5}  {install}" for tool, count, install in rows]
