"""The interface of a binding, through which all calls between Python and a plugin's C functions go.

The path of a call: :class:`Instance` ``.process`` fills a ``backworks_request``, zeroes a ``backworks_response``, calls
the plugin without the interpreter lock, copies the response into a :class:`Reply`, and frees the plugin's memory with
``backworks_plugin_free_string``: exactly once, whatever the code, even if the copy fails.

The path of an error: the :class:`Reply` carries any code; the layer above turns one other than OK into an exception. A
response that breaks the rules of the header raises :exc:`ContractViolation`. A library that the dynamic linker rejects
raises ``OSError`` with the linker's message.

The path of a log record: the plugin calls ``backworks_host.log`` from any thread; the binding decodes the text (invalid
UTF-8 is replaced) and calls the ``log`` function that was passed to ``init``. Exceptions of that function stop there.

This package makes no policy decisions: other modules decide whether a symbol may be missing, whether a version is
acceptable, and what a code means.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from types import ModuleType

#: A function that takes a ``backworks_level`` and the text of a log record.
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

#: The maximum size of an answer in bytes: 1 GiB, as in the header. That is far more than a function call should return,
#: but little enough that one wrong number does not exhaust the machine.
MAX_ANSWER = 1 << 30

#: The maximum size of a content type or header block in bytes: what HTTP servers accept for a whole header.
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
    """The plugin broke a rule of the header; the message says which."""


class Reply(NamedTuple):
    """A copy of a ``backworks_response``, with the code that the plugin returned.

    ``data``, ``content_type`` and ``headers`` are ``None`` if the plugin left them NULL. ``http_status`` is 0 if the
    plugin did not set it.
    """

    code: int
    data: bytes | None
    http_status: int
    content_type: bytes | None
    headers: bytes | None


class Engine(Protocol):
    """An object that answers requests: an initialised plugin, or a wrapped Python object.

    The methods may be called from several threads at the same time. The caller must call ``shutdown`` once, and make no
    other call during or after it.
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
        """Calls ``backworks_plugin_health_check``, which the library must export."""
        ...

    def shutdown(self) -> int:
        """Calls ``backworks_plugin_shutdown`` and returns its code."""
        ...


class Instance(Engine, Protocol):
    """One initialised plugin of a library. Keeps the library and the host structure alive."""

    def reconfigure(self, config: bytes) -> Reply:
        """Calls ``backworks_plugin_reconfigure``, which the library must export."""
        ...


_Instance = TypeVar("_Instance", bound=Instance)


class Library(Protocol):
    """An open library. It stays mapped until the process exits, because unmapping is not safe (see docs/why.md)."""

    path: str

    def symbols(self) -> frozenset[str]:
        """Returns the ``REQUIRED_SYMBOLS`` and ``OPTIONAL_SYMBOLS`` that the library exports. Calls nothing."""
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
        """Calls ``backworks_plugin_description``, which the library must export; ``None`` for NULL."""
        ...

    def init(self, config: bytes, log: LogFunction) -> tuple[Reply, Instance | None]:
        """Calls ``backworks_plugin_init``.

        Returns the reply and the instance, which is ``None`` if the plugin returned a code other than OK or a NULL
        instance. The value that a failed init stored in ``*out`` is ignored.
        """
        ...


class Binding(Protocol):
    """A way to call C.

    Attributes:
        name: Its value in ``BACKWORKS_FFI``.
        compiled: The extension module, if this is the binding that is compiled; see :func:`backworks.ffi.compiled`.
    """

    name: str
    compiled: ModuleType | None

    def open(self, path: str) -> Library:
        """Opens the library at an absolute path, with all symbols bound immediately and none exported to others.

        Raises:
            OSError: The dynamic linker rejects it; the message is the linker's.
        """
        ...


def check_sizes(
    data: bool, size: int, content_type: bool, content_type_size: int, headers: bool, headers_size: int
) -> None:
    """Checks the sizes of a ``backworks_response`` before its pointers are followed.

    Args:
        data, content_type, headers: Whether the pointer is not NULL.
        size, content_type_size, headers_size: The corresponding sizes.

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
    """Returns the result of ``Library.init``; shuts the instance down if its reply is invalid.

    Args:
        reply: Returns the reply, like :func:`take_reply`.
        instance: The instance that init created, or ``None``.

    Raises:
        ContractViolation: See :func:`check_sizes`.
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
    """Copies a ``backworks_response`` and frees the plugin's memory, even if the copy fails.

    Args:
        code: The code that the function returned.
        response: The structure; its pointers are falsy if NULL.
        copy: Copies bytes from a pointer and a size.
        free: The library's ``backworks_plugin_free_string``.

    Raises:
        ContractViolation: See :func:`check_sizes`.
    """
    data, content_type, headers = response.data, response.content_type, response.headers
    size, content_type_size, headers_size = response.size, response.content_type_size, response.headers_size
    try:
        if not data or content_type or headers or content_type_size or headers_size or size > MAX_ANSWER:
            check_sizes(
                bool(data), size, bool(content_type), content_type_size, bool(headers), headers_size
            )  # most answers have only data
        return Reply(
            code,
            copy(data, size) if data else None,
            response.http_status,
            copy(content_type, content_type_size) if content_type else None,
            copy(headers, headers_size) if headers else None,
        )
    finally:
        if data:
            free(data, size)
