"""What a binding is: the only door between Python and a plugin's C functions.

The path of a call: :class:`Instance` ``.process`` fills a ``backworks_request``, zeroes a ``backworks_response``, calls
the plugin without the interpreter lock, copies what came back into a :class:`Reply`, and hands the plugin's memory back
through ``backworks_plugin_free_string``: once, whatever the code, and also if the copy fails.

The path of an error: a code other than OK travels in the :class:`Reply` like any other; the layer above makes an
exception of it. An answer that breaks the rules of the header is a :exc:`ContractViolation`. A library that the dynamic
linker refuses is an ``OSError`` with the linker's words.

The path of a log record: the plugin calls ``backworks_host.log`` from any thread; the binding decodes the text (invalid
UTF-8 is replaced) and calls the ``log`` function that was given to ``init``. What that function raises stops there.

Nothing here decides: whether a symbol may be missing, whether a version is good, what a code means, is said elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

#: Takes a ``backworks_level`` and the text of a record.
LogFunction = Callable[[int, str], None]

__all__ = [
    "ABI_VERSION",
    "MAX_ANSWER",
    "MAX_FIELD",
    "OPTIONAL_SYMBOLS",
    "REQUIRED_SYMBOLS",
    "Binding",
    "ContractViolation",
    "Engine",
    "Instance",
    "Library",
    "LogFunction",
    "Reply",
    "check_sizes",
    "init_result",
    "take_reply",
]

#: ``BACKWORKS_ABI_VERSION`` of the header; a test compares the two.
ABI_VERSION = 1

#: The largest answer that is taken, in bytes: 1 GiB, as the header says. Far above what anybody sends through a
#: function call, far below what exhausts a machine by one wrong number.
MAX_ANSWER = 1 << 30

#: The largest content type or block of header fields, in bytes: what HTTP servers accept for a whole header.
MAX_FIELD = 1 << 16

REQUIRED_SYMBOLS = (
    "backworks_plugin_abi_version",
    "backworks_plugin_name",
    "backworks_plugin_version",
    "backworks_plugin_init",
    "backworks_plugin_process_endpoint_data",
    "backworks_plugin_free_string",
    "backworks_plugin_shutdown",
)
OPTIONAL_SYMBOLS = (
    "backworks_plugin_description",
    "backworks_plugin_health_check",
    "backworks_plugin_reconfigure",
)


class ContractViolation(Exception):
    """The plugin broke a rule of the header; the text says which."""


class Reply(NamedTuple):
    """A ``backworks_response`` after the plugin's memory was handed back, with the code that was returned.

    ``data`` is ``None`` where the plugin left it NULL, as are ``content_type`` and ``headers``. ``http_status`` is 0
    where the plugin has set none.
    """

    code: int
    data: bytes | None
    http_status: int
    content_type: bytes | None
    headers: bytes | None


class Engine(Protocol):
    """What answers requests: one initialised plugin, or a Python object dressed as one.

    The methods may be called from several threads at once; that no call runs after or during ``shutdown``, and that
    ``shutdown`` is called once, is the caller's to see to.
    """

    def process(
        self,
        endpoint: bytes,
        method: bytes,
        data: bytes,
        time_left_ns: int = 0,
        traceparent: bytes | None = None,
        tracestate: bytes | None = None,
    ) -> Reply:
        """Calls ``backworks_plugin_process_endpoint_data``. Raises :exc:`ContractViolation`."""
        ...

    def health_check(self) -> Reply:
        """Calls ``backworks_plugin_health_check``, which the library must have."""
        ...

    def shutdown(self) -> int:
        """Calls ``backworks_plugin_shutdown`` and returns its code."""
        ...


class Instance(Engine, Protocol):
    """One initialised plugin of a library. Keeps the library and the host structure alive."""

    def reconfigure(self, config: bytes) -> Reply:
        """Calls ``backworks_plugin_reconfigure``, which the library must have."""
        ...


_Instance = TypeVar("_Instance", bound=Instance)


class Library(Protocol):
    """An opened library. It stays mapped for the life of the process: unmapping is not safe (see docs/why.md)."""

    path: str

    def symbols(self) -> frozenset[str]:
        """Which of ``REQUIRED_SYMBOLS`` and ``OPTIONAL_SYMBOLS`` the library has. Calls nothing."""
        ...

    def abi_version(self) -> int:
        """Calls ``backworks_plugin_abi_version``: 0 to 2**32 - 1."""
        ...

    def name(self) -> bytes | None:
        """Calls ``backworks_plugin_name``; ``None`` for NULL."""
        ...

    def version(self) -> bytes | None:
        """Calls ``backworks_plugin_version``; ``None`` for NULL."""
        ...

    def description(self) -> bytes | None:
        """Calls ``backworks_plugin_description``, which the library must have; ``None`` for NULL."""
        ...

    def init(self, config: bytes, log: LogFunction) -> tuple[Reply, Instance | None]:
        """Calls ``backworks_plugin_init``.

        Returns the reply and the instance, which is ``None`` if the plugin returned a code other than OK or a NULL
        instance. What a failing init stored in ``*out`` is ignored.
        """
        ...


class Binding(Protocol):
    """A way to call C. ``name`` is what ``BACKWORKS_FFI`` calls it."""

    name: str

    def open(self, path: str) -> Library:
        """Opens the library at an absolute path, with all symbols bound now and none exported to others.

        Raises:
            OSError: The dynamic linker refuses it; its words are the text.
        """
        ...


def check_sizes(
    data: bool, size: int, content_type: bool, content_type_size: int, headers: bool, headers_size: int
) -> None:
    """Checks the sizes of a ``backworks_response`` before a byte behind its pointers is read.

    Args:
        data, content_type, headers: Whether the pointer is not NULL.
        size, content_type_size, headers_size: The sizes beside them.

    Raises:
        ContractViolation: A NULL pointer with a size, or a size above ``MAX_ANSWER`` or ``MAX_FIELD``.
    """
    for field, present, length, limit in (
        ("data", data, size, MAX_ANSWER),
        ("content_type", content_type, content_type_size, MAX_FIELD),
        ("headers", headers, headers_size, MAX_FIELD),
    ):
        if length and not present:
            raise ContractViolation(f"the answer's {field} is NULL with a size of {length}")
        if length > limit:
            raise ContractViolation(f"the answer's {field} claims {length} bytes; at most {limit} are taken")


def init_result(reply: Callable[[], Reply], instance: _Instance | None) -> tuple[Reply, _Instance | None]:
    """Returns what ``Library.init`` does; an instance that nobody will have, because its reply is broken, is ended.

    Args:
        reply: Takes the reply, as :func:`take_reply` does.
        instance: What init made, if it did.

    Raises:
        ContractViolation: As :func:`check_sizes` does.
    """
    try:
        return reply(), instance
    except ContractViolation:
        if instance is not None:
            instance.shutdown()
        raise


def take_reply(
    code: int, response: Any, copy: Callable[[Any, int], bytes], free: Callable[[Any, int], object]
) -> Reply:
    """Copies a ``backworks_response`` and hands the plugin's memory back, also if the copy fails.

    Args:
        code: What the function returned.
        response: The structure; its pointers are false where they are NULL.
        copy: Makes bytes of a pointer and a size.
        free: The library's ``backworks_plugin_free_string``.

    Raises:
        ContractViolation: As :func:`check_sizes` does.
    """
    data, content_type, headers = response.data, response.content_type, response.headers
    try:
        check_sizes(
            bool(data),
            response.size,
            bool(content_type),
            response.content_type_size,
            bool(headers),
            response.headers_size,
        )
        return Reply(
            code,
            copy(data, response.size) if data else None,
            response.http_status,
            copy(content_type, response.content_type_size) if content_type else None,
            copy(headers, response.headers_size) if headers else None,
        )
    finally:
        if data:
            free(data, response.size)
