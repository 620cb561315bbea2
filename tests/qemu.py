"""What qemu's user mode cannot do, test by test: a plugin of pytest, for `make test-aarch64` alone."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.listed import Listed

#: The test, or all cases of it, or all that * stands for -> why it fails; see tests/listed.py.
CANNOT: Mapping[str, str] = {}


def pytest_configure(config: pytest.Config) -> None:
    """Has pytest expect what is on the list."""
    config.pluginmanager.register(Listed("qemu", "tests/qemu.py", CANNOT))
