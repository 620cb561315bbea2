"""Plots of figures: a panel for each case, a line for each contender, ours in colour."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import Figure
from benchmarks.units import amount

__all__ = ["Panel", "draw", "panels_of"]

OURS, OTHERS, FAINT = "#c2410c", "#475569", "#e2e8f0"
#: Inches.
WIDTH, LINE, HEAD, TITLE = 12.0, 0.24, 1.05, 0.75
#: The fraction of the width for the number next to the last dot.
ROOM = 0.28


@dataclass(frozen=True)
class Panel:
    """One case of a figure."""

    title: str
    figure: Figure
    group: str


def panels_of(figure: Figure) -> list[Panel]:
    """Returns a panel for each case."""
    return [Panel(group, figure, group) for group in figure.groups]


def draw(file: Path, title: str, panels: Sequence[Panel], machine: Mapping[str, str]) -> None:
    """Writes a plot as ``FILE.png``; its subtitle describes the machine."""
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams.update({"font.size": 9})
    from matplotlib import pyplot as plt

    columns = min(2, len(panels))
    width = WIDTH if columns > 1 else WIDTH * 0.65
    rows = math.ceil(len(panels) / columns)
    heights = [
        max(len(panel.figure.groups[panel.group]) for panel in panels[row * columns : (row + 1) * columns]) * LINE
        + HEAD
        for row in range(rows)
    ]
    height = sum(heights) + TITLE
    canvas, axes = plt.subplots(
        rows,
        columns,
        figsize=(width, height),
        squeeze=False,
        layout="constrained",
        height_ratios=heights,
    )
    canvas.get_layout_engine().set(rect=(0, 0, 1, 1 - TITLE / height), hspace=0.04)
    about = ", ".join(
        f"{machine[word]}{' cores' * (word == 'cores')}" for word in ("processor", "cores", "python", "date")
    )
    kind = machine["run"].partition(":")[0]
    for text, below, style in (
        (title, 0.08, {"fontsize": 12, "fontweight": "bold"}),
        (f"Orange: Backworks. Grey: others, in the same {kind} run. {about}", 0.36, {"fontsize": 8, "color": OTHERS}),
    ):
        canvas.text(0.1 / width, 1 - below / height, text, ha="left", va="top", **style)
    places = list(axes.flat)
    for axis, panel in zip(places, panels, strict=False):
        _draw(axis, panel)
    for axis in places[len(panels) :]:
        axis.set_visible(False)
    # Omits the version of the plotting program, so that the same values produce the same file.
    canvas.savefig(file.with_suffix(".png"), dpi=100, facecolor="white", metadata={"Software": None})
    plt.close(canvas)


def _draw(axis: Any, panel: Panel) -> None:
    figure, samples = panel.figure, panel.figure.groups[panel.group]
    names = list(samples)
    if figure.sorted:
        names.sort(key=lambda name: figure.value(samples[name]), reverse=figure.more_is_better)
    for place, name in enumerate(names):
        sample, value = samples[name], figure.value(samples[name])
        ours = name.startswith("Backworks")
        colour = OURS if ours else OTHERS
        axis.axhline(place, color=FAINT, linewidth=0.8, zorder=0)
        axis.plot([sample.low, sample.high], [place, place], color=colour, linewidth=3, alpha=0.35, zorder=1)
        axis.plot([value], [place], "o", color=colour, markersize=5, zorder=2, clip_on=False)
        axis.annotate(
            amount(value, figure.unit),
            (max(value, sample.high), place),
            (6, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=8,
            fontweight="bold" if ours else "normal",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        )
    axis.set_yticks(range(len(names)), names)
    for label, name in zip(axis.get_yticklabels(), names, strict=True):
        label.set_color(OURS if name.startswith("Backworks") else OTHERS)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.set_title(panel.title, loc="left", fontsize=10)
    _scale(axis, figure, [number for sample in samples.values() for number in (figure.value(sample), sample.high)])
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)


def _scale(axis: Any, figure: Figure, values: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    what = "median" if figure.more_is_better else "minimum"
    unit = "time" if figure.unit == "ns" else figure.unit
    scale = ", logarithmic" if figure.logarithmic else ""
    axis.set_xlabel(f"{unit}{scale}; dot: {what}, bar: 10 to 90 %", fontsize=8, color=OTHERS)
    if figure.logarithmic:
        low, high = min(values) / 1.3, max(values)
        axis.set_xscale("log")
        axis.set_xlim(low, high * max(high / low, 10) ** ROOM)
        axis.xaxis.set_major_locator(LogLocator(numticks=7))
        axis.xaxis.set_minor_formatter(NullFormatter())
    else:
        axis.set_xlim(min(0, *values), max(1, *values) * (1 + ROOM))
        axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: amount(value, figure.unit)))
    axis.tick_params(axis="x", labelsize=8)
