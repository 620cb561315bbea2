"""The plugin frees its memory, and reads and writes structures only within their size."""

from __future__ import annotations

import ctypes
import itertools
from typing import TYPE_CHECKING

from backworks.authoring.conformance.catalogue import check
from backworks.authoring.conformance.fences import FencedRequest
from backworks.authoring.conformance.growth import watch
from backworks.authoring.conformance.requests import odd_requests
from backworks.authoring.conformance.results import Failed, Skipped
from backworks.authoring.conformance.subject import Host
from backworks.ffi.ctypes_binding import BackworksRequest, BackworksResponse

if TYPE_CHECKING:
    from backworks.authoring.conformance.subject import Subject

_MIB = 1 << 20
_SIZES = (0, 1, 2, 4095, 4096, 4097, 65_535, 65_536, _MIB, 16 * _MIB, 64 * _MIB)
_ODD = 400
_TAIL = 64


@check("memory", "(NULL, 0) is allowed and does nothing", needs=("starts",))
def free_null(subject: Subject) -> str:
    """free_string(NULL, 0) does nothing, before init and after shutdown."""
    subject.journal.write("free_string(NULL, 0)")
    for _ in range(3):
        subject.free(None, 0)
    started = subject.init()
    subject.end(started)
    subject.journal.write("free_string(NULL, 0), after shutdown")
    subject.free(None, 0)
    return "four times"


@check(
    "memory", "Frees memory that this library returned in a backworks_response", needs=("answers-kept", "children-left")
)
def answers_freed(subject: Subject) -> str:
    """A call whose answer is freed leaks no memory."""
    instance = subject.start()
    turn = itertools.cycle(subject.requests)

    def call() -> None:
        instance.call(next(turn))

    done = watch(call, "calls", "all memory of a call freed by free_string", subject.effort, most=6000)
    return f"{done.number:,} calls, {done.bytes_each:,.1f} bytes each"


@check("memory", "which must be freed like any", needs=("config-broken", "restarts"))
def refusals_freed(subject: Subject) -> str:
    """A failed init leaks no memory."""
    host = Host()
    rejected = []
    for config in subject.bad_configs():
        started = subject.init(config, host)
        subject.end(started)
        if started.code != 0:
            rejected.append(config)
    if not rejected:
        raise Skipped("init rejected none of the invalid configurations")
    turn = itertools.cycle(rejected)

    def reject() -> None:
        subject.init(next(turn), host)

    done = watch(
        reject, "calls of init with invalid configurations", "all memory freed by a failed init", subject.effort
    )
    return f"{done.number:,} calls of init, {done.bytes_each:,.1f} bytes each"


@check("memory", "May be called after the shutdown of the", needs=("answers-kept",))
def free_after_shutdown(subject: Subject) -> str:
    """An answer can be read and freed after the shutdown of its instance."""
    instance = subject.start()
    kept = [(request, *instance.keep(request)) for request in subject.requests]
    before = [
        ctypes.string_at(response.data, response.size) if response.data and response.size < _MIB else None
        for _, _, response in kept
    ]
    instance.shutdown()
    for (request, code, response), data in zip(kept, before, strict=True):
        subject.journal.write(f"free_string() of the answer to {request}, after shutdown")
        answer = subject.take(code, response)
        if data is not None and answer.data != data:
            raise Failed(
                f"{request} returned {data[:80]!r}; after shutdown its memory holds {answer}", "the same bytes"
            )
    return f"{len(kept)} answers, read and freed after shutdown"


@check("memory", "`data` may be any bytes", needs=("request-borrowed",))
def data_sizes(subject: Subject) -> str:
    """The data may have any size from 0 to 64 MiB."""
    instance = subject.start()
    for size in _SIZES:
        if size <= _MIB or subject.effort == 1:
            for request in (subject.requests[0], subject.requests[-1]):
                instance.call(request._replace(data=b" " * size if size % 2 else b"x" * size))
    return "0 bytes to 64 MiB"


@check("memory", "`data` may be any bytes", needs=("data-sizes", "request-in-bounds", "children-left"))
def data_any(subject: Subject) -> str:
    """The data may be any bytes."""
    instance = subject.start()
    if subject.case is not None:
        return f"{subject.case} returned {instance.call(subject.case)}"
    requests = odd_requests(subject.seed, int(_ODD * subject.effort), subject.requests)
    for number, request in enumerate(requests):
        subject.journal.case(number)
        instance.call(request)
    return f"{len(requests)} requests from the seed {subject.seed}"


@check(
    "memory",
    "Only structures that begin with struct_size can grow, and only at their end",
    needs=("request-in-bounds",),
)
def request_larger(subject: Subject) -> str:
    """A request with more fields than this ABI defines gets the same answer."""
    instance = subject.start()
    before = subject.steady(instance)
    size = ctypes.sizeof(BackworksRequest)
    for request, answer in before.items():
        fenced = FencedRequest(request)
        buffer = ctypes.create_string_buffer(size + _TAIL)
        buffer.raw = ctypes.string_at(fenced.structure.address, size) + b"\xa5" * _TAIL
        ctypes.c_uint32.from_buffer(buffer).value = size + _TAIL
        subject.journal.write(f"{request}, with a struct_size of {size + _TAIL}")
        again = subject.take(*instance.ask(ctypes.addressof(buffer)))
        if again != answer:
            raise Failed(
                f"{request} returned {answer}; with a struct_size of {size + _TAIL}, {again}", "the same answer"
            )
    return f"{len(before)} requests with a struct_size of {size + _TAIL} instead of {size}"


@check("memory", "A field may be read only if struct_size covers it", needs=("request-in-bounds",))
def request_smaller(subject: Subject) -> str:
    """If struct_size ends before the trace context, the plugin does not read the trace context."""
    instance = subject.start()
    before = subject.steady(instance)
    size = BackworksRequest.traceparent.offset
    for request, answer in before.items():
        fenced = FencedRequest(request, size)
        subject.journal.write(f"{request}, with a struct_size of {size} and no readable memory after it")
        again = subject.take(*instance.ask(fenced.structure.address))
        if again != answer:
            raise Failed(f"{request} returned {answer}; with a struct_size of {size}, {again}", "the same answer")
    return f"{len(before)} requests of {size} bytes, without a trace context"


@check("memory", "bytes of this structure that the host allocated", needs=("request-in-bounds",))
def response_in_bounds(subject: Subject) -> str:
    """The plugin writes only the fields of a response that the ABI defines, and nothing after them."""
    instance = subject.start()
    size = ctypes.sizeof(BackworksResponse)
    for request in subject.requests:
        fenced = FencedRequest(request)
        for claimed in (size, size + _TAIL):
            buffer = ctypes.create_string_buffer(size + _TAIL)
            buffer.raw = claimed.to_bytes(4, "little") + bytes(size - 4) + b"\xa5" * _TAIL
            response = BackworksResponse.from_buffer(buffer)
            subject.journal.write(f"{request}, with a backworks_response of {claimed} bytes")
            code = subject.function("process_endpoint_data")(
                instance.pointer, fenced.structure.address, ctypes.addressof(buffer)
            )
            tail, found = buffer.raw[size:], response.struct_size
            answer = subject.take(code, response)
            if tail != b"\xa5" * _TAIL or found != claimed:
                raise Failed(
                    f"{request} returned {answer}; it set struct_size from {claimed} to {found}, and the bytes after "
                    f"the structure from a5a5... to {tail.hex()}",
                    "struct_size and the bytes after the known fields unchanged",
                )
    return f"{len(subject.requests)} requests, with a struct_size of {size} and of {size + _TAIL}"
