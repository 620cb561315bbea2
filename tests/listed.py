"""Lists of tests that are known to fail under an emulator: see tests/wine.py and tests/qemu.py.

A listed test is expected to fail; it is an error if it passes, or if an entry names no test. The reason of a test that
must not even start begins with "not run:".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest


class Listed:
    """A pytest plugin that marks the tests of one list as expected failures.

    Args:
        emulator: The emulator's name.
        source: The file that contains the list.
        cannot: A test, a test with all its cases, or a pattern with * -> why it fails.
    """

    def __init__(self, emulator: str, source: str, cannot: Mapping[str, str]) -> None:
        self._emulator = emulator
        self._source = source
        self._cannot = cannot

    def _entry(self, test: str) -> str | None:
        """Returns the entry that matches a test."""
        plain = next((name for name in (test, test.partition("[")[0]) if name in self._cannot), None)
        return plain or next((name for name in self._cannot if "*" in name and _pattern(name).fullmatch(test)), None)

    def pytest_ignore_collect(self, collection_path: Path, config: pytest.Config) -> bool | None:
        """Ignores files that are on the list."""
        return collection_path.relative_to(config.rootpath).as_posix() in self._cannot or None

    @pytest.hookimpl(tryfirst=True)  # before tests are deselected
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Marks the listed tests, and rejects a list with an entry that is not a test."""
        left = {name for name in self._cannot if "::" in name or not (config.rootpath / name).exists()}
        for item in items:
            if (name := self._entry(item.nodeid)) is not None:
                left.discard(name)
                why = self._cannot[name]
                reason, run = f"{self._emulator}: {why}", not why.startswith("not run:")
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True, run=run))
        if any("::" in argument for argument in config.args):
            return  # single tests were asked for
        files = {item.nodeid.partition("::")[0] for item in items}
        absent = sorted(name for name in left if name.partition("::")[0] in files or "::" not in name)
        if absent:
            raise pytest.UsageError(f"{self._source} lists unknown tests: {', '.join(absent)}")


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(re.escape(name).replace(r"\*", ".*"), re.DOTALL)
