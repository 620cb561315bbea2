"""Where everything is, and what all scripts here need."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

from steps import ROOT, Failed, cache, fail, install, run  # found by the line above

__all__ = ["CACHE", "ROOT", "Failed", "fail", "install", "run"]

CACHE = cache("backworks-cross")
