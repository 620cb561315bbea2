"""Codes and messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backworks.authoring.conformance.catalogue import check
from backworks.authoring.conformance.requests import Request
from backworks.authoring.conformance.results import Failed, Skipped, Warned
from backworks.authoring.conformance.subject import code_name
from backworks.errors import Code

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backworks.authoring.conformance.subject import Answer, Subject


def _unknown(subject: Subject) -> tuple[Request, ...]:
    return (
        Request(b"GET", b"/no/such/endpoint", b"{}"),
        Request(b"BREW", subject.requests[0].endpoint, subject.requests[0].data),
        Request(b"", b"", b""),
    )


def _calls(subject: Subject) -> Iterator[tuple[str, Answer]]:
    instance = subject.start()
    for request in (*subject.requests, *_unknown(subject)):
        answer = instance.call(request)
        yield f"{request} returned {answer}", answer


def _inits(subject: Subject) -> Iterator[tuple[str, Answer]]:
    for config in subject.bad_configs():
        started = subject.init(config)
        subject.end(started)
        yield str(started), started.answer


@check("errors", "Handles one request; see backworks_response for what to return", needs=("starts",))
def answers(subject: Subject) -> str:
    """Every call returns, and its answer can be read and freed."""
    instance = subject.start()
    found: list[str] = []
    for request in subject.requests:
        answer = instance.call(request)
        found.append("not mine" if answer.code == 0 and answer.data is None and not answer.broken else str(answer))
    own = f"; the first: {found[0]}" if subject.own_requests else ""
    good = sum(text.startswith("OK") for text in found)
    return f"{len(found)} requests: {good} answered, {found.count('not mine')} not mine, the rest errors{own}"


@check("errors", "Handles one request", needs=("answer-pointers",))
def calls_answered(subject: Subject) -> str:
    """The plugin answers the calls given with --call with OK."""
    if not subject.own_requests:
        raise Skipped("no call given: add one that the plugin answers with --call 'METHOD ENDPOINT [DATA]'")
    instance = subject.start()
    for request in subject.own_requests:
        answer = instance.call(request)
        if answer.code != 0 or answer.data is None:
            raise Warned(f"{request} returned {answer}", "an answer: otherwise the tests reach little of the plugin")
    return f"{len(subject.own_requests)} calls"


@check("errors", '"not mine": no response', needs=("answers",))
def unknown_asked(subject: Subject) -> str:
    """An unknown endpoint or method gets an answer, an error or "not mine"."""
    instance = subject.start()
    found = [f"{request} returned {instance.call(request)}" for request in _unknown(subject)]
    return "; ".join(found)


@check("errors", "Any other number is taken as BACKWORKS_UNKNOWN", needs=("unknown-asked", "config-broken"))
def codes_known(subject: Subject) -> str:
    """Every returned code is defined by the ABI."""
    seen = set()
    for what, answer in (*_calls(subject), *_inits(subject)):
        if not 0 <= answer.code <= max(Code):
            raise Failed(what, "a code of backworks_code: 0 to 16")
        seen.add(answer.code)
    return f"seen: {', '.join(code_name(code) for code in sorted(seen))}"


@check("errors", "the error message, UTF-8", needs=("unknown-asked",))
def messages(subject: Subject) -> str:
    """A failed call has a readable message in UTF-8."""
    return _messages(_calls(subject))


@check("errors", "may put a message in *error", needs=("config-broken",))
def init_messages(subject: Subject) -> str:
    """A failed init has a readable message in UTF-8."""
    return _messages(_inits(subject))


def _messages(replies: Iterator[tuple[str, Answer]]) -> str:
    count, without = 0, None
    for what, answer in replies:
        if answer.code == 0 or answer.broken is not None:
            continue
        count += 1
        if answer.data is None:
            without = without or what
            continue
        try:
            good = bool(answer.data.decode().strip())
        except UnicodeDecodeError:
            good = False
        if not good:
            raise Failed(what, "a non-empty message in UTF-8, or NULL with size 0")
    if without is not None:
        raise Warned(without, "a message that says what was found and what is accepted")
    if count == 0:
        raise Skipped("no call failed")
    return f"{count} errors with a message"


@check("errors", "the request is invalid, whatever the plugin's state", needs=("unknown-asked",))
def after_an_error(subject: Subject) -> str:
    """After failed calls, the plugin answers as before."""
    instance = subject.start()
    before = subject.steady(instance)
    bad = (*_unknown(subject), *(request._replace(data=b"\xff\xfe{\0") for request in subject.requests))
    failed = sum(instance.call(request).code != 0 for request in bad)
    for request, answer in before.items():
        again = instance.call(request)
        if again != answer:
            raise Failed(f"{request} returned {answer}; after {failed} failed calls, {again}", "the same answer")
    return f"{failed} of {len(bad)} calls failed; {len(before)} requests answered as before them"
