"""Tests that are known to fail under an emulator: see tests/wine.py and tests/qemu.py.

A test on such a list is expected to fail, and is an error when it passes; so is an entry that names no test. One that
cannot even be begun has a reason that starts with "not run:".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest


class Listed:
    """A plugin of pytest that has the tests of one list fail.

    Args:
        emulator: Its name.
        source: The file of the list.
        cannot: The test, or all cases of it, or all that * stands for -> why it fails.
    """

    def __init__(self, emulator: str, source: str, cannot: Mapping[str, str]) -> None:
        self._emulator = emulator
        self._source = source
        self._cannot = cannot

    def _entry(self, test: str) -> str | None:
        """Returns the entry that a test falls under."""
        plain = next((name for name in (test, test.partition("[")[0]) if name in self._cannot), None)
        return plain or next((name for name in self._cannot if "*" in name and _pattern(name).fullmatch(test)), None)

    def pytest_ignore_collect(self, collection_path: Path, config: pytest.Config) -> bool | None:
        """Leaves out files that are on the list."""
        return collection_path.relative_to(config.rootpath).as_posix() in self._cannot or None

    @pytest.hookimpl(tryfirst=True)  # before tests are deselected
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Marks what is on the list, and refuses a list with what is no test."""
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
            raise pytest.UsageError(f"{self._source} lists what is no test: {', '.join(absent)}")


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(re.escape(name).replace(r"\*", ".*"), re.DOTALL)
