"""The job of a worker process: one library with one configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backworks.errors import BackworksError, PluginContractError, PluginLoadError, PluginUnavailable
from backworks.loading.identity import Identity, check_abi, identify, link_error, missing_symbols
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

    def path(self) -> str:
        try:
            return str(self._staged.verified())
        except PluginLoadError as error:
            number = error.__cause__.errno if isinstance(error.__cause__, OSError) else None
            raise OSError(number, str(error)) from error

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
