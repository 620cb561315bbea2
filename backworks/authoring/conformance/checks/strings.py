"""Text and bytes: bounds, ownership and lifetime."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from backworks.authoring.conformance.catalogue import check
from backworks.authoring.conformance.fences import Fence, FencedRequest
from backworks.authoring.conformance.requests import odd_texts, quoted
from backworks.authoring.conformance.results import Failed
from backworks.authoring.conformance.subject import Host, Instance
from backworks.errors import PluginContractError
from backworks.ffi.contract import Reply
from backworks.reply import result_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backworks.authoring.conformance.requests import Request
    from backworks.authoring.conformance.subject import Answer, Subject


def _all(subject: Subject) -> Iterator[tuple[Request, Answer]]:
    instance = subject.start()
    for request in subject.requests:
        yield request, instance.call(request)


@check("strings", "a violation of the ABI, which the host reports")
def answer_pointers(subject: Subject) -> str:
    """No answer has a NULL pointer with a size, or a size above the limit."""
    count = 0
    for request, answer in _all(subject):
        if answer.broken is not None:
            raise Failed(
                f"{request} returned {answer}",
                "NULL with size 0, or up to 1 GiB of data and 64 KiB each of content_type and headers",
            )
        count += 1
    return f"{count} answers"


@check("strings", "The HTTP status of the response, 200 to 599, or 0")
def answer_status(subject: Subject) -> str:
    """The http_status of an answer is 200 to 599, or 0."""
    seen = set()
    for request, answer in _all(subject):
        if answer.http_status and not 200 <= answer.http_status <= 599:  # the range in the header
            raise Failed(f"{request} returned {answer} and the http_status {answer.http_status}", "200 to 599, or 0")
        seen.add(answer.http_status)
    return f"seen: {', '.join(map(str, sorted(seen)))}"


@check("strings", "Visible ASCII and spaces")
def answer_content_type(subject: Subject) -> str:
    """The content_type of an answer is visible ASCII and spaces."""
    seen = set()
    for request, answer in _all(subject):
        seen.add(answer.content_type)
        _ask_host(request, answer, Reply(0, b"", 0, answer.content_type, None))
    return f"seen: {', '.join(repr(kind) for kind in seen)}"


@check("strings", "field lines as in RFC 9112 section 5")
def answer_headers(subject: Subject) -> str:
    """The headers of an answer are lines of name, colon and value, without fields that only the host may set."""
    count = 0
    for request, answer in _all(subject):
        count += (answer.headers or b"").count(b"\r\n")
        _ask_host(request, answer, Reply(0, b"", 0, None, answer.headers))
    return f"{count} header fields in {len(subject.requests)} answers"


def _ask_host(request: Request, answer: Answer, part: Reply) -> None:
    """Passes a part of an answer to the host's own validation."""
    try:
        result_of(part, "")
    except PluginContractError as error:
        raise Failed(f"{request} returned {answer}: {error.message}", "a value that the host accepts") from None


@check(
    "strings",
    "allocated by the library and owned by the host until it calls backworks_plugin_free_string",
    needs=("answer-pointers",),
)
def answers_kept(subject: Subject) -> str:
    """An answer that the host has not freed does not change when the plugin is called again."""
    instance = subject.start()
    kept = []
    for request in (*subject.requests, *subject.requests):
        code, response = instance.keep(request)
        kept.append((request, code, response, _bytes_of(response)))
    owners = [response.data for _, _, response, _ in kept if response.data and response.size]
    for request, _, response, before in kept:
        now = _bytes_of(response)
        if now != before or (response.data and owners.count(response.data) > 1 and response.size):
            raise Failed(
                f"{request} returned {quoted(before[0])} at {response.data or 0:#x}; after {len(kept)} calls without "
                f"free_string() there is {quoted(now[0])}"
                + ("" if now != before else ", and another answer at the same address"),
                "separate memory for each answer, until it is freed",
            )
    for _, code, response, _ in kept[::-1]:
        subject.take(code, response)
    return f"{len(kept)} answers kept at the same time and freed in reverse order"


def _bytes_of(response: object) -> tuple[bytes, ...]:
    parts = []
    for field in ("data", "content_type", "headers"):
        size = getattr(response, "size" if field == "data" else f"{field}_size")
        address = getattr(response, field)
        parts.append(ctypes.string_at(address, size) if address else b"")
    return tuple(parts)


@check("strings", "Text passed as pointer and size is not NUL-terminated")
def request_in_bounds(subject: Subject) -> str:
    """The plugin reads no byte past the end of endpoint, method and data."""
    instance = subject.start()
    sizes = [
        subject.requests[0]._replace(data=b"x" * size) for size in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63)
    ]
    for request in (*subject.requests, *sizes):
        fenced = FencedRequest(request)
        subject.journal.write(f"{request}, with inaccessible memory after each text")
        subject.take(*instance.ask(fenced.structure.address))
    return f"{len(subject.requests) + len(sizes)} requests that end where readable memory ends"


@check("strings", "Text passed as pointer and size is not NUL-terminated", needs=("config-empty", "config-broken"))
def config_in_bounds(subject: Subject) -> str:
    """Init reads no byte past the end of its configuration."""
    configs = (subject.config, b"{}", b'{"a":"b"', b'{"a', b"{", b"")
    for config in configs:
        fence = Fence(config)
        subject.journal.write(f"init(config {quoted(config)}), with inaccessible memory after it")
        subject.end(subject.init_at(fence.address, len(config), Host(), config))
    return f"{len(configs)} configurations that end where readable memory ends"


@check("strings", "this structure and everything it points to is borrowed for the call", needs=("request-in-bounds",))
def request_borrowed(subject: Subject) -> str:
    """After a call, the plugin no longer reads the request."""
    instance = subject.start()
    for request in subject.requests:
        fenced = FencedRequest(request)
        subject.journal.write(f"{request}, after the memory of earlier requests became inaccessible")
        answer = instance.ask(fenced.structure.address)
        for fence in (*fenced.texts, fenced.structure):
            fence.forbid()
        subject.journal.write(f"reading and freeing the answer to {request}, after the request became inaccessible")
        subject.take(*answer)
    subject.journal.write("shutdown(), after the memory of all requests became inaccessible")
    subject.function("shutdown")(instance.pointer)
    return f"{len(subject.requests)} requests, each inaccessible before the next call"


@check("strings", "borrowed for the call. On success, returns BACKWORKS_OK", needs=("answers", "config-in-bounds"))
def config_borrowed(subject: Subject) -> str:
    """After init, the plugin no longer reads the configuration that was passed in."""
    fence = Fence(subject.config)
    started = subject.init_at(fence.address, len(subject.config), Host(), subject.config)
    if started.code != 0:
        raise Failed(str(started), "OK, as with the same configuration at another address")
    fence.forbid()
    instance = Instance(subject, started.pointer, started.host)
    for request in subject.requests:
        instance.call(request)
    instance.shutdown()
    return f"{len(subject.requests)} requests and a shutdown after the configuration became inaccessible"


@check("strings", "this structure and everything it points to is borrowed", needs=("request-in-bounds",))
def request_read_only(subject: Subject) -> str:
    """The plugin does not write to a request, which is const."""
    instance = subject.start()
    for request in subject.requests:
        fenced = FencedRequest(request)
        for fence in (*fenced.texts, fenced.structure):
            fence.forbid_writing()
        subject.journal.write(f"{request}, in read-only memory")
        subject.take(*instance.ask(fenced.structure.address))
    return f"{len(subject.requests)} requests in read-only memory"


@check("strings", "may contain NUL bytes")
def texts_any(subject: Subject) -> str:
    """Endpoint and method may be any UTF-8: empty, with NUL bytes, or 1 MiB long."""
    instance = subject.start()
    requests = odd_texts(subject.seed, subject.requests)
    for request in requests:
        instance.call(request)
    return f"{len(requests)} requests, the last: {requests[-1]}"


@check("strings", "`text` is `size` bytes of UTF-8")
def log_text(subject: Subject) -> str:
    """Log records are UTF-8, with a valid level."""
    instance = subject.start()
    for request in subject.requests:
        instance.call(request)
    instance.shutdown()
    for level, text, size, _, _ in instance.host.records:
        try:
            good = (text is not None or size == 0) and 0 < level <= 100
            (text or b"").decode()
        except UnicodeDecodeError:
            good = False
        if not good:
            found = "NULL" if text is None else repr(text[:80])
            raise Failed(
                f"log() was called with level {level}, text {found} and size {size}", "a level from 1 to 100, and UTF-8"
            )
    return f"{len(instance.host.records)} records"
