"""The job of a worker process: one library with one configuration."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from backworks.errors import BackworksError, PluginContractError, PluginUnavailable
from backworks.loading.identity import Identity, check_abi, identify, link_error, missing_symbols
from backworks.loading.staging import stage
from backworks.reply import check_init
from backworks.system import system_words

if TYPE_CHECKING:
    from backworks.isolation.process.codec import Ready, Refused
    from backworks.loading.prepared import Prepared

__all__ = ["LibraryJob"]

#: Stages of a REFUSED frame (native/wire/PROTOCOL.md).
_LIMITS, _OPEN, _SYMBOLS = 2, 3, 4


class LibraryJob:
    """A :class:`backworks.isolation.process.worker.Job`.

    Args:
        prepared: The library.
        config: The plugin's configuration, as JSON.
        plugin: The plugin's id.
    """

    def __init__(self, prepared: Prepared, config: bytes, plugin: str) -> None:
        self.config = config
        self.plugin = plugin
        self._path = prepared.path
        self._staged = prepared.staged
        self._manifest = prepared.manifest
        self._seen: tuple[int, ...] | None = None  # the file status of the copy when it was last hashed

    def path(self) -> str:
        copy = self._staged.path
        if self._seen is None or self._look() != self._seen:
            # A plugin runs as the same user and may have modified the copy.
            if not copy.is_file() or hashlib.sha256(copy.read_bytes()).hexdigest() != self._staged.sha256:
                copy.unlink(missing_ok=True)
                if stage(self._path).sha256 != self._staged.sha256:
                    raise OSError(
                        f"the private copy of {self._path} was modified, and the file itself has changed since it was "
                        "loaded; load it again"
                    )
            self._seen = self._look()
        return str(copy)

    def accept(self, ready: Ready) -> None:
        check_abi(self._path, ready.abi)
        self.identity(ready)

    def identity(self, ready: Ready) -> Identity:
        """Returns the identity that the plugin reports; raises like :func:`backworks.loading.identity.identify`."""
        return identify(self._path, ready.name, ready.version, ready.description, self._manifest)

    def refusal(self, refused: Refused) -> BackworksError:
        try:
            self._refuse(refused)
        except BackworksError as error:
            return error
        return PluginContractError(f"its worker process rejected it in stage {refused.stage}", plugin=self.plugin)

    def _refuse(self, refused: Refused) -> None:
        if refused.reply is not None:
            check_init(refused.reply, None, self.plugin)
        if refused.stage == _LIMITS:
            raise PluginUnavailable(
                f"limits.{refused.text}: the system cannot set this limit: {system_words(refused.detail)}",
                plugin=self.plugin,
            )
        if refused.stage == _OPEN:
            raise link_error(self._path, self._staged.path, refused.text)
        if refused.stage == _SYMBOLS:
            raise missing_symbols(self._path, sorted(refused.text.split()))
        check_abi(self._path, refused.detail)

    def _look(self) -> tuple[int, ...]:
        found = self._staged.path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
