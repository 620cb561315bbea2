"""A plugin whose calls run in C: in the usual case no Python code runs between the caller and the plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backworks.ffi import _native
from backworks.isolation.channels.inline import InlineRunner
from backworks.plugin import Plugin, PluginInfo

if TYPE_CHECKING:
    from backworks.isolation.admission import Admission

__all__ = ["CompiledPlugin"]


class CompiledPlugin(_native.Calls, Plugin):
    """A :class:`backworks.Plugin` whose methods ``answer`` and ``process_endpoint_data`` are written in C."""

    def __init__(self, info: PluginInfo, admission: Admission, timeout: float | None) -> None:
        Plugin.__init__(self, info, admission, timeout)
        judged = admission.breaker is not None
        self._attach(
            admission.gate, admission.ask, admission.settle, admission.fail, self._not_text, self._timeout, judged
        )
        runner = admission.runner
        free = getattr(runner, "free", None)
        if isinstance(runner, InlineRunner) and isinstance(runner.engine, _native.Instance):
            self._use_instance(runner.engine, runner.turn)
        elif hasattr(_native, "FreeSlots") and isinstance(free, _native.FreeSlots):
            self._use_slots(free, runner.process, runner.failure)  # type: ignore[attr-defined]
        else:
            self._use_function(runner.process)
