"""Plugins with one defect each, and the failures that ``backworks plugin test`` must report, and no others.

Each plugin in ``tests/defects`` is ``good.h`` with one fault; those in ``tests/zoo`` misbehave on the call that they
are tested with. The tables list everything that is expected.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from conftest import LIBRARY, PATIENCE

from backworks import sdk
from backworks.authoring.conformance.results import Status

__all__ = ["DEFECTS", "ZOO_DEFECTS", "Seeded", "build"]

DIRECTORY = Path(__file__).parent / "defects"


@dataclass(frozen=True)
class Seeded:
    """A plugin and its faults.

    Attributes:
        name: Its file, without the suffix.
        wrong: The checks that must not pass, and their statuses.
        config: The configuration that it is tested with.
        calls: The calls that it is tested with.
        effort: The fraction of repetitions to run; a small one is enough for most.
        timeout: Seconds for each check.
    """

    name: str
    wrong: dict[str, Status]
    config: str = "{}"
    calls: tuple[str, ...] = ()
    effort: float = 0.2
    timeout: float = PATIENCE

    def __str__(self) -> str:
        return self.name


def _fails(name: str, *checks: str, **more: object) -> Seeded:
    return Seeded(name, dict.fromkeys(checks, Status.FAIL), **more)  # type: ignore[arg-type]


def _warns(name: str, check: str, **more: object) -> Seeded:
    return Seeded(name, {check: Status.WARNING}, **more)  # type: ignore[arg-type]


def _crashes(name: str, check: str, **more: object) -> Seeded:
    return Seeded(name, {check: Status.CRASH}, **more)  # type: ignore[arg-type]


DEFECTS = [
    _fails("symbol_missing", "symbols-required"),
    _fails("symbol_misspelt", "symbols-known"),
    _fails("symbol_leaks", "symbols-only"),
    _fails("symbol_undefined", "opens"),
    _warns("manifest_missing", "manifest-valid"),
    _fails("manifest_broken", "manifest-valid"),
    _fails("manifest_differs", "manifest-agrees"),
    _fails("schema_broken", "config-schema"),
    _fails("schema_refuses", "config-schema"),
    _fails("name_invalid", "name-valid"),
    _fails("name_allocated", "identity-static"),
    _fails("name_rebuilt", "threads-identity"),
    _fails("version_invalid", "version-valid"),
    _fails("version_changes", "identity-static"),
    _fails("description_lines", "description-valid"),
    _fails("abi_2", "abi-version"),
    _warns("load_slow", "opens-soon"),
    _fails("init_refuses", "starts"),
    _fails("init_null", "starts"),
    _fails("init_once", "restarts"),
    _fails("init_leaks", "init-rounds"),
    _fails("init_message_latin_1", "init-messages"),
    _warns("shutdown_code", "shutdown-ok"),
    _fails("shutdown_ends_all", "shutdown-beside-another"),
    _fails("instance_shared", "instances-distinct"),
    _fails("state_shared", "instances-together"),
    _crashes("config_empty", "config-empty", config='{"a": 1}'),
    _crashes("config_broken", "config-broken"),
    _crashes("config_wrong", "config-wrong"),
    _crashes("config_deep", "config-huge", effort=1.0),
    _crashes("config_to_nul", "config-in-bounds"),
    _crashes("keeps_config", "config-borrowed"),
    _fails("out_on_failure", "out-exactly-on-ok"),
    _fails("refusal_leaks", "refusals-freed"),
    _fails("reconfigure_leaks", "reconfigure-same"),
    _fails("reconfigure_refuses", "reconfigure-same"),
    _fails("reconfigure_forgets", "reconfigure-refused"),
    _warns("health_bad", "health-check"),
    _fails("health_slow", "health-check-soon"),
    _fails("host_exact", "host-larger"),
    _fails("log_no_context", "log-context"),
    _fails("log_late", "log-ends"),
    _fails("log_latin_1", "log-text"),
    _fails("status_99", "answer-status"),
    _fails("type_two_lines", "answer-content-type"),
    _fails("headers_unended", "answer-headers"),
    _fails("header_of_host", "answer-headers"),
    _fails("answer_static", "answers-kept"),
    _crashes("data_to_nul", "request-in-bounds"),
    _crashes("keeps_request", "request-borrowed"),
    _crashes("writes_request", "request-read-only"),
    _crashes("long_endpoint", "texts-any"),
    _crashes("method_unknown", "unknown-asked"),
    _warns("nothing", "calls-answered", calls=("GET /no/such/endpoint",)),
    _fails("code_99", "codes-known"),
    _fails("message_latin_1", "messages"),
    _warns("message_none", "messages"),
    _fails("error_sticks", "after-an-error"),
    _crashes("free_null", "free-null"),
    _crashes("free_needs_instance", "free-after-shutdown"),
    _crashes("free_alone", "threads-free"),
    _fails("frees_nothing", "answers-freed", "refusals-freed"),
    _fails("call_leaks", "answers-freed"),
    _fails("call_maps", "answers-freed"),
    _crashes("data_huge", "data-sizes", effort=1.0),
    _crashes("data_byte", "data-any"),
    _fails("request_exact", "request-larger", "request-smaller"),
    _crashes("request_trace", "request-smaller"),
    _fails("response_past", "response-in-bounds"),
    _fails("response_size", "response-in-bounds"),
    _fails("scratch_shared", "threads-same-answers", effort=1.0),
    _fails("scratch_global", "threads-instances", effort=1.0),
    _fails("thread_of_init", "threads-foreign"),
    _fails("deadline_zero", "deadline-none"),
    _warns("deadline_unseen", "deadline-short"),
    _fails("prints", "stdout-untouched"),
    _fails("changes_directory", "working-directory"),
    _fails("changes_environment", "environment"),
    _fails("changes_locale", "locale-untouched"),
    _fails("changes_umask", "umask-untouched"),
    _fails("changes_signal", "signals-untouched"),
    _fails("blocks_signal", "signals-untouched"),
    _fails("changes_rounding", "float-mode"),
    _fails("leaves_descriptor", "descriptors"),
    _fails("closes_stdin", "descriptors"),
    _fails("leaves_thread", "threads-left"),
    _fails("leaves_zombie", "children-left"),
    _crashes("exit_crashes", "exits-clean"),
]

_BITE = ("POST / bite",)
#: Seconds; long enough for whatever ends at all, even on a busy machine.
_SHORT = 10.0


def _bites(name: str, check: str, status: Status = Status.CRASH, **more: object) -> Seeded:
    return Seeded(name, {check: status}, calls=_BITE, **more)  # type: ignore[arg-type]


def _hangs(name: str, check: str) -> Seeded:
    return _bites(name, check, Status.TIMEOUT, timeout=_SHORT)


#: Excludes plugins that exhaust memory or processes, or that harm only processes that share a pipe with them.
ZOO_DEFECTS = [
    *(
        _bites(name, "answers")
        for name in (
            "segfault",
            "aborts",
            "stack_overflow",
            "illegal_instruction",
            "exits",
            "exits_in_thread",
            "kills_group",
            "crashes_with_child",
            "crashes_with_daemon",
            "points_nowhere",
            "freed_twice",
            "throws",
        )
    ),
    *(_hangs(name, "answers") for name in ("endless_loop", "deaf_loop", "sleeps", "stops_itself")),
    Seeded("crashes_at_dlopen", {"opens": Status.CRASH, "symbols-only": Status.FAIL}, calls=_BITE),
    _bites("crashes_in_constructor", "opens"),
    _bites("crashes_in_init", "starts"),
    _bites("crashes_in_shutdown", "starts"),
    _hangs("slow_init", "starts"),
    _hangs("hanging_shutdown", "starts"),
    _hangs("hanging_destructor", "exits-clean"),
    _bites("claims_10_gib", "answer-pointers", Status.FAIL),
    _bites("null_with_size", "answer-pointers", Status.FAIL),
    _bites("bad_headers", "answer-headers", Status.FAIL),
    _bites("prints", "stdout-untouched", Status.FAIL),
    _bites("floods_log", "log-text", Status.FAIL),
    _bites("leaves_child", "children-left", Status.FAIL),
    _bites("leaves_daemon", "children-left", Status.FAIL),
    Seeded(
        "changes_process",
        dict.fromkeys(
            ("working-directory", "environment", "locale-untouched", "umask-untouched", "signals-untouched"),
            Status.FAIL,
        ),
        calls=_BITE,
    ),
]


def build(cc: Sequence[str], directory: Path, name: str) -> Path:
    """Compiles a plugin of ``tests/defects`` into a directory."""
    library = directory / LIBRARY.format(name)
    command = [*cc, "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden"]
    command += ["-shared", "-fPIC", "-pthread", f"-I{sdk.path('c')}", str(DIRECTORY / f"{name}.c"), "-o", str(library)]
    subprocess.run([*command, *(["-lm"] if sys.platform != "win32" else [])], check=True)
    return library
