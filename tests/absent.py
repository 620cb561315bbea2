"""A table of the tests skipped because a tool is missing, for the end of a run: see ``missing`` in conftest.py."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import pytest

#: A tool, as passed to :func:`conftest.missing` -> how to install it on Debian, unless by ``apt install TOOL``.
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
    "what cargo fetches": "run it once with a network connection",
    "nginx": "apt install nginx-light",
    "nm": "apt install binutils",
    "systemd-analyze": "apt install systemd",
}

_REASON = re.compile(r"Skipped: (.+) is not installed$")


def table(reports: Iterable[pytest.CollectReport | pytest.TestReport]) -> list[str]:
    """Returns the lines of the table, one for each tool; empty if no tool was missing.

    Args:
        reports: The reports of skipped tests.
    """
    reasons = [report.longrepr[2] for report in reports if isinstance(report.longrepr, tuple)]
    tests = Counter(found[1] for reason in reasons if (found := _REASON.match(reason)))
    rows = [(tool, str(count), INSTALL.get(tool, f"apt install {tool}")) for tool, count in sorted(tests.items())]
    if not rows:
        return []
    rows.insert(0, ("tool", "tests", "how to install it on Debian"))
    wide = max(len(tool) for tool, _, _ in rows)
    return [f"{tool:<{wide}}  {count:>5}  {install}" for tool, count, install in rows]
