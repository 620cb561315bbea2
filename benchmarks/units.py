"""Formats numbers."""

from __future__ import annotations

__all__ = ["amount", "number"]

_NANOSECONDS = {"s": 1e9, "ms": 1e6, "µs": 1e3}


def number(value: float) -> str:
    """Formats a number with three significant figures and thousands separators."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def amount(value: float, unit: str) -> str:
    """Formats a value: nanoseconds with a suitable unit, all others without their unit."""
    if unit != "ns":
        return number(value)
    for shown, factor in _NANOSECONDS.items():
        if value >= factor:
            return f"{number(value / factor)} {shown}"
    return f"{number(value)} ns"
