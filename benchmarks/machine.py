"""Describes the machine and software of a run."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import ROOT

__all__ = ["describe"]

PACKAGES = (
    "backworks",
    "nanobind",
    "pybind11",
    "cffi",
    "extism",
    "extism-sys",
    "wasmtime",
    "uvicorn",
    "uvloop",
    "httptools",
    "granian",
    "hypercorn",
    "grpcio",
    "fastapi",
    "starlette",
)


def describe(quick: bool) -> dict[str, str]:
    """Returns the kind of run, the machine and the versions, as labels and texts."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "run": "quick: few and short rounds, to see that it works; not to be quoted" if quick else "full",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": _commit(),
        "processor": _processor(),
        "cores": str(cores),
        "governor": _governor(),
        "load before": f"{os.getloadavg()[0]:.2f}",
        "system": f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver()) or 'libc unknown'}",
        "python": f"{platform.python_implementation()} {platform.python_version()} ({platform.python_compiler()})",
        "compiler": _first_line("cc", "--version"),
        "wrk": _first_line("wrk", "--version"),
        "packages": ", ".join(f"{package} {_version(package)}" for package in PACKAGES),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _commit() -> str:
    commit = _first_line("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
    changed = _first_line("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no")
    return f"{commit}, with changes" if changed else commit


def _processor() -> str:
    if sys.platform == "darwin":
        return _first_line("sysctl", "-n", "machdep.cpu.brand_string")
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _governor() -> str:
    file = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return file.read_text().strip() if file.exists() else "unknown"


def _first_line(*command: str) -> str:
    # wrk prints its usage for --version, and exits with code 1.
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return done.stdout.partition("\n")[0].strip()
