"""Where everything is, and what all scripts here need."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

from steps import ROOT, Failed, cache, copy_checkout, fail, install, run, set_up  # found by the line above

__all__ = ["CACHE", "C_DRIVE", "HERE", "PREFIX", "ROOT", "Failed", "copy_checkout", "fail", "install", "run", "set_up"]

HERE = Path(__file__).resolve().parent
CACHE = cache("backworks-test-windows")
#: Wine's prefix, and what Windows calls C: there.
PREFIX = CACHE / "wine"
C_DRIVE = PREFIX / "drive_c"
