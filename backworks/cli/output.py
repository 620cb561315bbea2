"""Tables, JSON and numbers with units for stdout."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

import click

from backworks.printable import UNPRINTABLE, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["bytes_text", "json_option", "print_json", "print_table", "time_text"]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(value: Any) -> None:
    """Prints a value as indented JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False)  # escapes line feeds and most other control characters
    click.echo(
        "\n".join(re.sub(UNPRINTABLE, lambda found: f"\\u{ord(found[0]):04x}", line) for line in text.split("\n"))
    )


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table: framed and fitted to the width on a terminal, otherwise in plain columns that are never cut."""
    rows = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*headers, box=box.SIMPLE_HEAD)
        for row in rows:
            table.add_row(*(Text(cell, overflow="fold") for cell in row))
        Console().print(table)
        return
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    for row in (headers, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def time_text(nanoseconds: float) -> str:
    """Formats a time with a suitable unit and three significant figures: ``1.42 µs``."""
    for unit, factor in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= 0.9995 * factor:  # includes values that round up to the unit
            return f"{_three(nanoseconds / factor)} {unit}"
    return f"{nanoseconds:.0f} ns"


def bytes_text(size: int) -> str:
    """Formats a size with a suitable unit: ``4.50 MiB``; sizes below 1 KiB in bytes."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if abs(size) >= 1 << power:
            return f"{_three(size / (1 << power))} {unit}"
    return f"{size} byte{'' if size == 1 else 's'}"


def _three(value: float) -> str:
    """Formats a number with three significant figures."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
