"""A few seconds of the soak in ``soak.py``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from soak import soak

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the soak looks at /proc")

SECONDS = 8


def test_soak(tmp_path: Path) -> None:
    """While workers die, files change and configurations are reloaded, each call has one outcome, its own."""
    result = soak(SECONDS, tmp_path)
    print(result)

    assert not result.wrong
    assert result.outcomes["answered"] > 100
    assert result.outcomes["had no time"] + result.outcomes["cancelled"] > 0
    assert result.kills > 5
    assert result.reloads["one plugin"] > 1
    assert result.reloads["the configuration"] > 1
