"""A connection with uvicorn's class for h11, a parser in Python: where httptools is not installed."""

from __future__ import annotations

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from backworks.http.connection import Connection
from backworks.http.watch import Stage

__all__ = ["PlainProtocol"]


class PlainProtocol(Connection, H11Protocol):
    """One connection."""

    conn: h11.Connection

    _received = 0

    def connection_made(self, transport: object) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self.timeout_keep_alive = self.watch.keep_alive  # type: ignore[assignment]  # any number will do

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        super().data_received(data)

    def reads(self) -> tuple[Stage, object]:
        if self._reads_body():
            return Stage.BODY, self._received >> 16
        if not self.is_idle():
            return Stage.CALL, 0
        head = self.cycle is None or self.is_partial()
        return Stage.HEAD if head else Stage.IDLE, id(self.cycle)

    def is_partial(self) -> bool:
        return self._reads_body() or bool(self.conn.trailing_data[0])

    def _reads_body(self) -> bool:
        return self.conn.their_state is h11.SEND_BODY
