"""Plugins written in Python, with the same interface as compiled ones."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

from backworks.errors import Code, PluginError
from backworks.ffi.contract import Reply
from backworks.reply import PluginResult

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BackworksPlugin", "BuiltinInstance"]


class BackworksPlugin:
    """A base class, with defaults, for plugins written in Python; any object with these members is accepted.

    ::

        class Echo(BackworksPlugin):
            name = "echo"
            version = "1.0.0"

            def process_endpoint_data(self, endpoint, method, data):
                return data

    Attributes:
        name: 1 to 64 characters of ``[a-z0-9._-]``, as for a compiled plugin.
        version: A semantic version.
        description: One sentence about the plugin.
        thread_safe: Whether ``process_endpoint_data`` may run in several threads at the same time.
    """

    name: str
    version: str
    description: str = ""
    thread_safe: bool = True

    def initialize(self, config: Mapping[str, Any]) -> None:
        """Called once, before any other method. Raise an exception if the plugin cannot start."""

    def process_endpoint_data(self, endpoint: str, method: str, data: str) -> str | bytes | PluginResult | None:
        """Answers one request; returns ``None`` for "not mine".

        Args:
            endpoint: The endpoint, as written in the configuration.
            method: The HTTP method, in upper case.
            data: The request's data. Bytes that are not valid UTF-8 arrive as surrogate escapes.

        Raises:
            PluginError: To return its code and message. Any other exception becomes INTERNAL.
        """
        return None

    def health_check(self) -> None:
        """Returns if the plugin is healthy; raises an exception otherwise."""

    def shutdown(self) -> None:
        """Called once, after the last call has returned."""


class BuiltinInstance:
    """A Python plugin as a :class:`backworks.ffi.contract.Instance`.

    Args:
        plugin: The plugin object.
        plugin_id: The plugin's id in the host, for exceptions.

    Raises:
        TypeError: The object lacks a required member.
    """

    def __init__(self, plugin: Any, plugin_id: str) -> None:
        for name in ("name", "version"):
            if not isinstance(getattr(plugin, name, None), str):
                raise TypeError(
                    f"{type(plugin).__name__} is not a plugin: it must have an attribute {name!r} of type str; "
                    "see backworks.BackworksPlugin for all members"
                )
        process = getattr(plugin, "process_endpoint_data", None)
        if not callable(process):
            raise TypeError(
                f"{type(plugin).__name__} is not a plugin: it must have a method "
                "process_endpoint_data(endpoint, method, data)"
            )
        for name in ("initialize", "process_endpoint_data", "health_check", "shutdown"):
            if inspect.iscoroutinefunction(getattr(plugin, name, None)):
                raise TypeError(
                    f"{type(plugin).__name__} is not a plugin: its method {name} is async, but plugins are called from "
                    "threads; write it without async, and run coroutines in it with asyncio.run()"
                )
        self._plugin = plugin
        self._id = plugin_id

    def initialize(self, config: Mapping[str, Any]) -> Reply:
        """Calls the plugin's ``initialize``, if it has one."""
        return self._call("initialize", config)

    def process(
        self,
        endpoint: bytes,
        method: bytes,
        data: bytes,
        time_left_ns: int = 0,
        traceparent: bytes | None = None,
        tracestate: bytes | None = None,
    ) -> Reply:
        return self._call(
            "process_endpoint_data",
            endpoint.decode(),
            method.decode(),
            data.decode("utf-8", "surrogateescape"),
        )

    def health_check(self) -> Reply:
        """Calls the plugin's ``health_check``, if it has one."""
        return self._call("health_check")

    def shutdown(self) -> int:
        return self._call("shutdown").code

    def _call(self, name: str, *arguments: Any) -> Reply:
        method = getattr(self._plugin, name, None)
        if method is None:  # optional
            return Reply(Code.OK, None, 0, None, None)
        try:
            answer = method(*arguments)
        except PluginError as error:
            return Reply(error.code, error.message.encode(), error.http_status or 0, None, None)
        except Exception as error:
            logging.getLogger(f"backworks.plugin.{self._id}").exception("%s failed", name)
            text = f"{type(error).__name__}: {error}"
            return Reply(Code.INTERNAL, text.encode("utf-8", "replace"), 0, None, None)
        return self._reply(name, answer)

    def _reply(self, name: str, answer: Any) -> Reply:
        match answer:
            case None:
                return Reply(Code.OK, None, 0, None, None)
            case str():
                return Reply(Code.OK, answer.encode("utf-8", "surrogateescape"), 0, None, None)
            case bytes():
                return Reply(Code.OK, answer, 0, None, None)
            case PluginResult():
                headers = "".join(f"{field}: {value}\r\n" for field, value in answer.headers)
                return Reply(
                    Code.OK,
                    answer.data,
                    answer.http_status or 0,
                    answer.content_type.encode() if answer.content_type else None,
                    headers.encode("latin-1", "replace") if headers else None,
                )
            case _:
                text = f"{name} must return str, bytes, PluginResult or None, not {type(answer).__name__}"
                return Reply(Code.INTERNAL, text.encode(), 0, None, None)
