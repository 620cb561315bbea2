"""Compares the weather plugins with the US Aviation Weather Center, over a day of reports from the whole world.

    .venv/bin/python tests/compare_reports.py FILE...

FILE is JSON Lines, which the checkout does not contain: each line is the decoding of one report, with the members that
`tests/data/metar/README.md` describes. Make it from the Center's cache of reports, aviationweather.gov/data/cache/
metars.cache.xml.gz, or a stored copy of it. Both plugins are built first, and must return the same bytes.

Prints what is refused, what is not understood, and each kind of difference with examples. Exits with 1 if the plugins
return different bytes, or refuse or do not wholly understand more than one report in 1,000.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from weather_plugins import LANGUAGES, ask, load

#: How far two numbers may be apart: the service rounds differently, or has converted through other units.
TOLERANCE = {"visibility_statute_mi": 0.06, "altim_in_hg": 0.011}

#: The service writes CLR for all of these, also in Europe's reports.
CLEAR = {"CLR", "NSC", "NCD"}


def members(answer: dict[str, Any]) -> dict[str, Any]:
    """Returns a decoded report under the names of the service."""
    wind = answer["wind"] or {}
    return {
        "temp_c": answer["temperature_c"],
        "dewpoint_c": answer["dewpoint_c"],
        "wind_dir_degrees": wind.get("direction_deg"),
        "wind_speed_kt": wind.get("speed_kt"),
        "wind_gust_kt": wind.get("gust_kt"),
        "visibility_statute_mi": answer["visibility_mi"],
        "altim_in_hg": answer["altimeter_inhg"],
        "sea_level_pressure_mb": answer["sea_level_pressure_hpa"],
        "vert_vis_ft": answer["vertical_visibility_ft"],
        "wx_string": answer["weather"],
        "flight_category": answer["flight_category"],
        "sky_condition": answer["sky"],
    }


def layers(sky: list[dict[str, Any]] | None) -> list[tuple[str | None, int | None]]:
    """Returns the layers of either side in one form."""
    found = [(layer["cover"], layer.get("base_ft", layer.get("base_ft_agl"))) for layer in sky or []]
    return [("CLR" if cover in CLEAR else cover, base) for cover, base in found]


def same(name: str, ours: Any, theirs: Any) -> bool:
    """Returns whether two values of a member mean the same."""
    if name == "sky_condition":
        return layers(ours) == layers(theirs)
    if isinstance(ours, int | float) and isinstance(theirs, int | float):
        return abs(ours - theirs) <= TOLERANCE.get(name, 0.001)
    return bool(ours == theirs)


def differences(answer: dict[str, Any], service: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yields the members that differ, with the plugins' value and the service's, each `None` where it is absent."""
    for name, ours in members(answer).items():
        theirs = service.get(name)
        if name == "wind_dir_degrees" and ours is None and theirs == 0:
            continue  # the service writes 0 for variable wind
        if not same(name, ours, theirs):
            yield name, ours, theirs


class Comparison:
    """Counts what becomes of the reports of one file."""

    def __init__(self) -> None:
        """Begins with nothing."""
        self.reports = 0
        self.unlike: list[str] = []
        self.refused: list[str] = []
        self.unparsed: list[str] = []
        self.different: dict[str, list[str]] = defaultdict(list)

    def add(self, service: dict[str, Any], answers: list[Any]) -> None:
        """Adds one report, with what both plugins answered."""
        raw = service["raw_text"]
        self.reports += 1
        if answers[0] != answers[1]:
            self.unlike.append(raw)
        elif isinstance(answers[0], tuple):
            self.refused.append(f"{answers[0][1]}: {raw}")
        else:
            self._compare(json.loads(answers[0]), service)

    def _compare(self, answer: dict[str, Any], service: dict[str, Any]) -> None:
        if answer["unparsed"]:
            self.unparsed.append(f"{' '.join(item['group'] for item in answer['unparsed'])}: {answer['raw']}")
        for name, ours, theirs in differences(answer, service):
            absent = "only the service has it" if ours is None else "only the plugins have it"
            kind = absent if ours is None or theirs is None else "differs"
            self.different[f"{name}: {kind}"].append(f"{ours} | {theirs} | {answer['raw']}")

    def print(self, examples: int) -> None:
        """Prints the counts, and as many examples of each kind."""
        kinds = {"the plugins return different bytes": self.unlike, "refused": self.refused, "unparsed": self.unparsed}
        for kind, found in (kinds | dict(sorted(self.different.items()))).items():
            print(f"{kind}: {len(found)} of {self.reports}")
            for line in found[:examples]:
                print(f"    {line[:200]}")

    @property
    def good(self) -> bool:
        """Whether the plugins agree, and wholly understand all but one report in 1,000."""
        return not self.unlike and (len(self.refused) + len(self.unparsed)) * 1000 <= self.reports


def compare(file: Path) -> Comparison:
    """Decodes each report of a file with both plugins.

    Raises:
        OSError: The file cannot be read.
    """
    comparison = Comparison()
    plugins = [load(language) for language in LANGUAGES]
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            service = json.loads(line)
            comparison.add(service, [ask(plugin, "POST", service["raw_text"]) for plugin in plugins])
    for plugin in plugins:
        plugin.close()
    return comparison


def main() -> int:
    """Compares the files of the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="decoded reports, one JSON object a line")
    parser.add_argument("--examples", type=int, default=5, help="examples of each kind to print (default: 5)")
    options = parser.parse_args()
    good = True
    for file in options.files:
        if not file.is_file():
            parser.error(f"{file} is not a file; see `tests/data/metar/README.md` for what it contains")
        print(f"== {file}")
        comparison = compare(file)
        comparison.print(options.examples)
        good = good and comparison.good
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
