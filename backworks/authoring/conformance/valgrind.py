"""Runs a check under valgrind, and turns its findings in the plugin's code into failures.

CPython and the C library also cause reports. Only an error with a frame of the plugin in its stack counts.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from backworks.authoring.conformance.results import Result, Status

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["EFFORT", "SLOWER", "command", "is_installed", "judge"]

#: The fraction of repetitions to run.
EFFORT = 0.02
#: The factor by which the time limit of a check is extended.
SLOWER = 12.0
_FRAMES = 4


def is_installed() -> bool:
    """Returns whether valgrind is installed."""
    return shutil.which("valgrind") is not None


def command() -> list[str]:
    """Returns the start of a command that runs under valgrind and writes its report to the directory ``{}``."""
    return [
        "valgrind",
        "--quiet",
        "--error-limit=no",
        "--child-silent-after-fork=yes",
        "--max-stackframe=9000000",
        "--xml=yes",
        "--xml-file={}/valgrind.xml",
    ]


def judge(result: Result, directory: Path, library: Path) -> Result:
    """Returns the result, or a failure if valgrind found an error."""
    try:
        root = ET.parse(directory / "valgrind.xml").getroot()  # noqa: S314  # valgrind wrote it
    except (OSError, ET.ParseError) as problem:
        return replace(result, status=Status.FAIL, found=f"valgrind wrote no report: {problem}", accepted="a report")
    for error in root.iter("error"):
        if (error.findtext("kind") or "").startswith("Leak_"):
            continue  # a check may leave an instance behind; other checks look for memory growth
        frames = [frame for stack in error.iter("stack") for frame in stack.iter("frame")]
        own = [frame for frame in frames if frame.findtext("obj") == str(library)]
        if own:
            what = error.findtext("what") or error.findtext("xwhat/text") or error.findtext("kind") or "an error"
            where = " in ".join(dict.fromkeys(map(_place, own[:_FRAMES])))
            return replace(
                result,
                status=Status.FAIL,
                found=f"valgrind: {what}; in {where}",
                accepted="no memory error in the plugin",
            )
    return result


def _place(frame: ET.Element) -> str:
    function = frame.findtext("fn") or frame.findtext("ip") or "?"
    line = frame.findtext("line")
    return f"{function} ({frame.findtext('file')}:{line})" if line else function
