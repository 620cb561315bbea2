"""Lets a test hold a call inside the plugin, without a clock."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from conftest import ECHO, PATIENCE

if TYPE_CHECKING:
    from types import TracebackType

#: A plugin that logs "inside" in the middle of each call, and echoes the data.
GATED = ECHO.replace(
    "  (void)plugin;\n  return backworks_answer(",
    '  backworks_log(plugin->host, BACKWORKS_INFO, "inside");\n  return backworks_answer(',
)

#: The same, not thread-safe.
GATED_SERIAL = GATED.replace('"description": ', '"thread_safe": false, "description": ')


class Gate(logging.Handler):
    """A context manager that holds calls inside a :data:`GATED` plugin until :meth:`open`.

    Args:
        plugin: The plugin's id.
    """

    def __init__(self, plugin: str = "echo") -> None:
        super().__init__()
        self._logger = logging.getLogger(f"backworks.plugin.{plugin}")
        self._open = threading.Event()
        self._arrived = threading.Semaphore(0)
        self._counting = threading.Lock()
        self._inside = 0
        self.most_inside = 0

    # Handler.handle holds a lock around emit, which would admit one call at a time.
    def handle(self, record: logging.LogRecord) -> bool:
        if record.getMessage() == "inside":
            with self._counting:
                self._inside += 1
                self.most_inside = max(self.most_inside, self._inside)
            self._arrived.release()
            assert self._open.wait(PATIENCE)
            with self._counting:
                self._inside -= 1
        return True

    def wait(self) -> None:
        """Waits until one more call is inside."""
        assert self._arrived.acquire(timeout=PATIENCE)

    def open(self) -> None:
        """Lets all calls continue."""
        self._open.set()

    def __enter__(self) -> Gate:
        self._logger.addHandler(self)
        self._logger.setLevel(logging.DEBUG)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.open()
        self._logger.removeHandler(self)
