"""Where everything is, and what all scripts here need."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

from steps import ROOT, Failed, cache, copy_checkout, fail, install, run, set_up  # found by the line above

__all__ = ["CACHE", "ROOT", "Failed", "copy_checkout", "fail", "install", "run", "set_up"]

CACHE = cache("backworks-cross")
