import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn, TypeVar

from typing_extensions import Buffer

from backworks.ffi.contract import Library, Reply
from backworks.isolation.channels.mailbox import MailboxChannel
from backworks.isolation.process.worker import Worker
from backworks.isolation.waiters import Waiter
from backworks.plugin import Plugin

_Result = TypeVar("_Result")

def open(path: str) -> Library: ...  # noqa: A001, the contract's name for it
def stop_logging() -> None: ...
def write_request(
    method: str,
    path: str,
    path_params: Mapping[str, str],
    query: bytes,
    fields: Iterable[tuple[bytes, bytes]],
    body: bytes,
    /,
) -> bytes | None: ...

class Caller:
    # The methods of backworks.Plugin that it takes the place of: typed there.
    process_endpoint_data = Plugin.process_endpoint_data
    answer = Plugin.answer

    @property
    def inside(self) -> int: ...
    def run(self, job: Callable[[], _Result], /) -> _Result: ...
    def stop(self) -> None: ...
    def drain(self, timeout: float | None, /) -> bool: ...

def front(
    owner: Plugin,
    process: Callable[..., Reply],
    timeout: float | None,
    /,
) -> Front: ...

class Front:
    process_endpoint_data = Plugin.process_endpoint_data
    answer = Plugin.answer

# Not in free-threaded builds.
def lane(
    free: list[Worker],
    waiting: deque[Waiter],
    slow: Callable[..., Reply],
    failed: Callable[..., NoReturn],
    look: Callable[[], object],
    /,
) -> Lane: ...

class Lane:
    def process(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
        /,
    ) -> Reply: ...

class Pool:
    @property
    def state(self) -> str: ...
    @property
    def in_flight(self) -> int: ...
    def call(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
        /,
    ) -> Reply: ...
    def begin(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
        /,
    ) -> Reply | Call: ...
    def health_check(self, timeout: float | None, /) -> Reply: ...
    def drain(self, timeout: float | None, /) -> bool: ...
    def ended(self, shut_down: bool, /) -> None: ...
    def waker(self) -> Waker: ...

class Call:
    def watch(self, waker: Waker, future: asyncio.Future[None], /) -> bool: ...
    def result(self, timeout: float | None, /) -> Reply: ...
    def expire(self, timeout: float | None, /) -> Reply: ...
    def drop(self) -> None: ...

class Waker:
    def fileno(self) -> int: ...
    def wait(self) -> bool: ...
    def wake(self) -> None: ...

# Only on Linux, and not in free-threaded builds.
def mailbox() -> Mailbox: ...

class Mailbox:
    @property
    def memory_fd(self) -> int: ...
    @property
    def event_fd(self) -> int: ...
    @property
    def ended(self) -> bool: ...
    @property
    def is_open(self) -> bool: ...
    @property
    def is_ready(self) -> bool: ...
    def attach(self, owner: MailboxChannel, max_output: int, /) -> None: ...
    def call(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
        /,
    ) -> Reply: ...
    def begin(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
        /,
    ) -> Reply | None: ...
    def advance(self) -> Reply | None: ...
    def control(self, kind: int, payload: Buffer, timeout: float | None, /) -> Reply: ...
    def begin_control(self, kind: int, payload: Buffer, /) -> None: ...
    def announce(self) -> None: ...
    def notify(self) -> None: ...
    def trim(self) -> bool: ...
    def close(self) -> None: ...
