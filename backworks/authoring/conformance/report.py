"""Formats results as text, JSON and JUnit XML."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from backworks.authoring.conformance.catalogue import GROUPS, catalogue
from backworks.authoring.conformance.results import BAD, Result, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["as_json", "junit", "lines", "listing", "summary"]

_NAMES = 25
_COLORS = {
    Status.PASS: "green",
    Status.FAIL: "red",
    Status.CRASH: "red",
    Status.TIMEOUT: "red",
    Status.WARNING: "yellow",
    Status.SKIPPED: "bright_black",
}


def lines(results: Sequence[Result], again: str, width: int, style: Callable[[str, str], str]) -> Iterator[str]:
    """Yields the report as lines of text.

    Args:
        results: The results.
        again: The command that repeats a check, with ``{}`` in place of its id.
        width: The width in columns.
        style: Colours a text.
    """
    checks = catalogue()
    for group in GROUPS:
        of_group = [result for result in results if checks[result.id].group == group]
        if not of_group:
            continue
        yield group
        for result in of_group:
            check = checks[result.id]
            text = result.found if result.status is Status.SKIPPED else check.holds
            head = f"  {style(f'{result.status:<8}', _COLORS[result.status])} {result.id:<{_NAMES}} "
            room = max(20, width - 12 - _NAMES)
            yield head + (text if len(text) <= room else f"{text[: room - 3]}...")
            if result.status in BAD or result.status is Status.WARNING:
                yield from _evidence(result, check.source, again.format(result.id), width)
        yield ""


def _evidence(result: Result, source: str, again: str, width: int) -> Iterator[str]:
    rows = [("found", result.found), ("accepted", result.accepted), ("header", f'"{source}"')]
    rows += [("stderr" if number == 0 else "", line) for number, line in enumerate(result.stderr)]
    rows.append(("repeat", again))
    for label, text in rows:
        indent = " " * 11 + f"{label:<9} "
        # A command stays on one line, so that it can be copied.
        yield from (
            [indent + text]
            if label == "repeat"
            else textwrap.wrap(text, max(40, width), initial_indent=indent, subsequent_indent=" " * 21) or [indent]
        )


def summary(results: Sequence[Result]) -> str:
    """Returns the outcome and the next step, in one or two sentences."""
    counted = Counter(result.status for result in results)
    parts = [f"{counted[status]} {_word(status)}" for status in Status if counted[status]]
    text = f"{len(results)} checks: {', '.join(parts)}."
    bad = [result.id for result in results if result.status in BAD]
    warned = [result.id for result in results if result.status is Status.WARNING]
    if bad:
        return f"{text} The plugin breaks the contract. Start with {bad[0]}: other failures may follow from it."
    if warned:
        return f"{text} The plugin keeps the contract; fix the warnings of {' and '.join(warned)} before release."
    if counted[Status.PASS] == 0:
        return f"{text} Nothing was tested."
    return f"{text} The plugin keeps the contract."


def _word(status: Status) -> str:
    return {
        Status.PASS: "passed",
        Status.FAIL: "failed",
        Status.CRASH: "crashed",
        Status.TIMEOUT: "timed out",
        Status.WARNING: "with warnings",
        Status.SKIPPED: "skipped",
    }[status]


def as_json(library: str, results: Iterable[Result], seed: int) -> dict[str, Any]:
    """Returns the report as a JSON object."""
    checks = catalogue()
    listed = [
        {
            "id": result.id,
            "group": checks[result.id].group,
            "status": str(result.status),
            "holds": checks[result.id].holds,
            "header": checks[result.id].source,
            "found": result.found,
            "accepted": result.accepted,
            "stderr": list(result.stderr),
            "seconds": round(result.seconds, 3),
        }
        for result in results
    ]
    kept = not any(entry["status"] in BAD for entry in listed)
    return {"library": library, "seed": seed, "keeps_the_contract": kept, "tests": listed}


def listing() -> Iterator[tuple[str, str, str]]:
    """Yields the group, id and sentence of every check."""
    for check in sorted(catalogue().values(), key=lambda check: GROUPS.index(check.group)):
        yield check.group, check.id, check.holds


def junit(library: str, results: Sequence[Result], seed: int) -> bytes:
    """Returns the report as JUnit XML, with a suite for each group."""
    checks = catalogue()
    root = ET.Element("testsuites", name=f"backworks plugin test {library}")
    for group in GROUPS:
        of_group = [result for result in results if checks[result.id].group == group]
        if not of_group:
            continue
        counted = Counter(result.status for result in of_group)
        suite = ET.SubElement(
            root,
            "testsuite",
            name=group,
            tests=str(len(of_group)),
            failures=str(counted[Status.FAIL]),
            errors=str(counted[Status.CRASH] + counted[Status.TIMEOUT]),
            skipped=str(counted[Status.SKIPPED]),
            time=f"{sum(result.seconds for result in of_group):.3f}",
        )
        for result in of_group:
            case = ET.SubElement(
                suite, "testcase", classname=f"backworks.{group}", name=result.id, time=f"{result.seconds:.3f}"
            )
            evidence = f"{result.found}\naccepted: {result.accepted}\nheader: {checks[result.id].source}\nseed: {seed}"
            if result.status in BAD:
                tag = "failure" if result.status is Status.FAIL else "error"
                ET.SubElement(case, tag, type=str(result.status), message=_printable(result.found)).text = _printable(
                    evidence
                )
            elif result.status is Status.SKIPPED:
                ET.SubElement(case, "skipped", message=_printable(result.found))
            elif result.status is Status.WARNING:
                ET.SubElement(case, "system-out").text = _printable(f"warning: {evidence}")
            if result.stderr:
                ET.SubElement(case, "system-err").text = _printable("\n".join(result.stderr))
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def _printable(text: str) -> str:
    """Returns a text with the characters that XML does not allow replaced."""
    return "".join(c if c == "\n" or c.isprintable() else "?" for c in text)
