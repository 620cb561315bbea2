"""Tables of what was measured, for people (Markdown) and for programs (JSON)."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import plot
from benchmarks.harness import Figure, Sample
from benchmarks.units import amount, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["draw", "markdown", "read", "write"]


def write(directory: Path, figures: Sequence[Figure], machine: Mapping[str, str]) -> None:
    """Writes ``results.json`` and ``results.md``."""
    content = {"machine": machine, "figures": [asdict(figure) for figure in figures]}
    (directory / "results.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (directory / "results.md").write_text(markdown(figures, machine), encoding="utf-8")


def draw(directory: Path, figure: Figure, machine: Mapping[str, str]) -> None:
    """Writes ``NAME.png``."""
    plot.draw(directory / figure.name, figure.title, plot.panels_of(figure), machine)


def read(file: Path) -> tuple[list[Figure], dict[str, str]]:
    """Reads a ``results.json``: what :func:`write` was given."""
    content = json.loads(file.read_text(encoding="utf-8"))
    return [_figure(found) for found in content["figures"]], content["machine"]


def _figure(found: dict[str, Any]) -> Figure:
    groups = {
        group: {name: Sample(**sample) for name, sample in samples.items()}
        for group, samples in found.pop("groups").items()
    }
    references, notes = tuple(found.pop("references")), tuple(found.pop("notes"))
    return Figure(groups=groups, references=references, notes=notes, **found)


def markdown(figures: Sequence[Figure], machine: Mapping[str, str]) -> str:
    """Returns all tables."""
    lines = ["# What was measured", "", "Written by `make bench`; what each figure is, says ../README.md.", ""]
    lines += ["| machine | |", "| --- | --- |"]
    lines += [f"| {word} | {text} |" for word, text in machine.items()]
    for figure in figures:
        lines += ["", f"## {figure.name}", "", f"{figure.title}.", ""]
        lines += [f"- {note}" for note in figure.notes]
        for group, samples in figure.groups.items():
            lines += ["", *_table(figure, group, samples)]
    return "\n".join(lines) + "\n"


def _table(figure: Figure, group: str, samples: Mapping[str, Sample]) -> Iterator[str]:
    references = [name for name in figure.references if name in samples]
    rounds = max(sample.rounds for sample in samples.values())
    head = [
        f"{group}{'' if figure.unit == 'ns' else f', {figure.unit}'}; {rounds} round{'s' * (rounds > 1)}",
        "min",
        "median",
        "10 to 90 %",
        *(f"x {name}" for name in references),
    ]
    yield _row(head)
    yield _row(["---", *["---:"] * (len(head) - 1)])
    for name, sample in samples.items():
        ratios = [
            ratio(figure.value(sample), figure.value(samples[reference])) if name != reference else ""
            for reference in references
        ]
        minimum, median, low, high = (
            amount(value, figure.unit) for value in (sample.minimum, sample.median, sample.low, sample.high)
        )
        yield _row([name, minimum, median, f"{low} to {high}", *ratios])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def ratio(value: float, reference: float) -> str:
    """Writes a quotient; there is none by nothing."""
    return number(value / reference) if reference else ""
