"""A library in worker processes: nothing of it runs in the host."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from backworks.direct import outer_plugin
from backworks.errors import BackworksError, PluginContractError, PluginUnavailable
from backworks.isolation.guard import guarded
from backworks.isolation.processes import ProcessRunner
from backworks.isolation.slots import Crew
from backworks.loading.identity import Identity, check_abi, identify, link_error, missing_symbols
from backworks.loading.staging import stage
from backworks.plugin import PluginInfo
from backworks.reply import check_init
from backworks.system import system_words

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from backworks.isolation.options import ProcessOptions
    from backworks.isolation.policy import Policy
    from backworks.isolation.process.codec import Ready, Refused
    from backworks.loading.staging import Staged
    from backworks.plugin import Plugin

__all__ = ["start_workers"]


class _LibraryJob:
    """A :class:`backworks.isolation.process.worker.Job`: one library with one configuration."""

    def __init__(
        self, path: Path, staged: Staged, manifest: Mapping[str, Any] | None, config: bytes, plugin: str
    ) -> None:
        self.config = config
        self.plugin = plugin
        self._path = path
        self._staged = staged
        self._manifest = manifest
        self._seen: tuple[int, ...] | None = None  # what the system said of the copy when it was last read

    def path(self) -> str:
        copy = self._staged.path
        if self._seen is None or self._look() != self._seen:
            # A plugin runs as the same user, and may have written to it.
            if not copy.is_file() or hashlib.sha256(copy.read_bytes()).hexdigest() != self._staged.sha256:
                copy.unlink(missing_ok=True)
                if stage(self._path).sha256 != self._staged.sha256:
                    raise OSError(
                        f"somebody has changed the private copy of {self._path}, and that file is another one by now; "
                        "load it again"
                    )
            self._seen = self._look()
        return str(copy)

    def accept(self, ready: Ready) -> None:
        check_abi(self._path, ready.abi)
        self.identity(ready)

    def identity(self, ready: Ready) -> Identity:
        """Returns who the plugin says it is. Raises as :func:`backworks.loading.identity.identify` does."""
        return identify(self._path, ready.name, ready.version, ready.description, self._manifest)

    def refusal(self, refused: Refused) -> BackworksError:
        try:
            self._refuse(refused)
        except BackworksError as error:
            return error
        return PluginContractError(f"its worker process refuses it in stage {refused.stage}", plugin=self.plugin)

    def _refuse(self, refused: Refused) -> None:
        if refused.reply is not None:
            check_init(refused.reply, None, self.plugin)
        if refused.stage == _LIMITS:
            raise PluginUnavailable(
                f"limits.{refused.text}: the system does not set this limit: {system_words(refused.detail)}",
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


#: Stages of a REFUSED (native/wire/PROTOCOL.md).
_LIMITS, _OPEN, _SYMBOLS = 2, 3, 4


def start_workers(
    path: Path,
    staged: Staged,
    manifest: Mapping[str, Any] | None,
    config: bytes,
    *,
    plugin_id: str | None,
    workers: int,
    timeout: float | None,
    process: ProcessOptions,
    policy: Policy,
) -> Plugin:
    """Starts a library in worker processes.

    Args:
        path: The library.
        staged: Its private copy.
        manifest: Its manifest, or ``None``.
        config: The plugin's configuration, as JSON.
        plugin_id, workers, timeout, process, policy: As for :func:`backworks.loading.loader.start`.

    Raises:
        PluginLoadError, PluginError: The plugin does not start.
    """
    # Without a manifest nobody knows its name before it runs.
    named = plugin_id or (str(manifest["name"]) if manifest is not None else None)
    job = _LibraryJob(path, staged, manifest, config, named or path.stem)
    crew = Crew(job.plugin, job, workers, process)
    ready = crew.start()
    identity = job.identity(ready)
    if named is None:
        named = job.plugin = identity.name
        crew.rename(named)
    info = PluginInfo(named, *identity, manifest, path, "process", ready.has_health_check)
    return outer_plugin(info, guarded(named, ProcessRunner(crew), policy), timeout)
