"""Init and shutdown: one instance or several, with valid and invalid configurations."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from backworks.authoring.conformance.catalogue import check
from backworks.authoring.conformance.growth import watch
from backworks.authoring.conformance.results import Failed, Skipped, Warned
from backworks.authoring.conformance.subject import Host, Instance, code_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backworks.authoring.conformance.requests import Request
    from backworks.authoring.conformance.subject import Answer, Subject

_HUGE = 8 << 20
_DEEP = 100_000
_ROUNDS = 10_000
_OTHER_CONFIGS = ("answers", "config-empty", "config-broken", "config-wrong")


@check(
    "life-cycle",
    "On success, returns BACKWORKS_OK and stores a non-NULL pointer in *out",
    needs=("abi-version",),
)
def starts(subject: Subject) -> str:
    """The plugin starts with its configuration, and shuts down."""
    started = subject.init()
    if started.code != 0 or not started.pointer:
        raise Failed(
            str(started),
            "OK and an instance; if the plugin needs a configuration, pass --config JSON or --config @FILE",
        )
    code = Instance(subject, started.pointer, started.host).shutdown()
    return f"{started}; shutdown returned {code_name(code)}"


@check("life-cycle", "a code other than BACKWORKS_OK is only logged", needs=("starts",))
def shutdown_ok(subject: Subject) -> str:
    """A normal shutdown returns OK."""
    code = subject.start().shutdown()
    if code != 0:
        raise Warned(f"shutdown() returned {code_name(code)}", "OK; otherwise each shutdown logs a warning")
    return "returned OK"


@check("life-cycle", "Creates an instance", needs=("answers",))
def restarts(subject: Subject) -> str:
    """After the last instance is shut down, a new one answers like the first."""
    before = _once(subject)
    after = _once(subject)
    _compare(before, after, "an instance created after the shutdown of another")
    return f"{len(before)} requests answered alike by the first and a later instance"


@check("life-cycle", "May be called again while other instances run", needs=("answers",))
def instances_distinct(subject: Subject) -> str:
    """Each init creates a separate instance."""
    first, second = subject.start(), subject.start()
    if first.pointer == second.pointer:
        raise Failed(
            f"init() stored {first.pointer:#x} in *out, and so did a second init() while that instance was running",
            "a different pointer for each instance: each has its own configuration, state and shutdown",
        )
    return f"{first.pointer:#x} and {second.pointer:#x}"


@check("life-cycle", "A library may have several", needs=("instances-distinct", "restarts"))
def instances_together(subject: Subject) -> str:
    """Two instances that run at the same time, called in turn, answer like a single one."""
    alone = _once(subject)
    first, second = subject.start(), subject.start()
    for instance, which in ((first, "the first"), (second, "the second"), (first, "the first")):
        _compare(alone, _answers(instance, alone), f"{which} of two instances")
    return f"{len(alone)} requests, to a single instance and to two"


@check(
    "life-cycle", "Called exactly once, after the last call to the instance has returned", needs=("instances-together",)
)
def shutdown_beside_another(subject: Subject) -> str:
    """The shutdown of one instance does not affect another."""
    alone = _once(subject)
    for first_ends in (True, False):
        pair = [subject.start(), subject.start()]
        ending, staying = pair if first_ends else pair[::-1]
        ending.shutdown()
        which = "the second" if first_ends else "the first"
        _compare(alone, _answers(staying, alone), f"{which} of two instances, after the other's shutdown,")
        staying.shutdown()
    return f"{len(alone)} requests to the second instance after the shutdown of the first, and vice versa"


@check("life-cycle", '"{}" if nothing is configured', needs=("starts",))
def config_empty(subject: Subject) -> str:
    """Init accepts {} or rejects it with a code."""
    return _try_configs(subject, (b"{}",))


@check("life-cycle", "JSON (an object;", needs=("starts",))
def config_broken(subject: Subject) -> str:
    """Init survives a configuration that is not JSON or not an object, and creates an instance or returns a code."""
    return _try_configs(subject, subject.bad_configs())


@check("life-cycle", "`config_json` is `config_size` bytes of JSON (an object", needs=("config-broken",))
def config_wrong(subject: Subject) -> str:
    """Init survives members of the wrong type, and unknown members."""
    return _try_configs(subject, subject.wrong_configs())


@check("life-cycle", "bytes of JSON (an object", needs=("config-broken",))
def config_huge(subject: Subject) -> str:
    """Init survives a configuration of 8 MiB, and one nested 100,000 levels deep."""
    config = json.loads(subject.config)
    huge, deep = int(_HUGE * subject.effort), int(_DEEP * subject.effort)
    texts = (
        json.dumps({**config, "huge": "a" * huge}).encode(),
        json.dumps({**config, **dict.fromkeys(map(str, range(deep)), 1)}).encode(),
        b'{"deep":' + b"[" * deep + b"]" * deep + b"}",
        b'{"a":' * deep + b"1" + b"}" * deep,
    )
    return _try_configs(subject, texts)


@check("life-cycle", "On failure, returns another code, leaves *out NULL", needs=_OTHER_CONFIGS)
def out_exactly_on_ok(subject: Subject) -> str:
    """Init stores an instance if it returns OK, and none otherwise."""
    count = 0
    for config in (subject.config, b"{}", *subject.bad_configs(), *subject.wrong_configs()):
        started = subject.init(config)
        if (started.code == 0) != bool(started.pointer):
            raise Failed(str(started), "*out not NULL with OK, NULL with any other code")
        subject.end(started)
        count += 1
    return f"{count} configurations"


@check("life-cycle", "valid from the call to init until that", needs=("restarts", "children-left"))
def init_rounds(subject: Subject) -> str:
    """Init and shutdown, repeated 10,000 times, leak no memory."""
    host = Host()

    def round_() -> None:
        started = subject.init(host=host)
        if started.code != 0:
            raise Failed(f"after earlier rounds of init and shutdown, {started}", "OK each time")
        subject.end(started)

    accepted = "all memory that init allocates freed by shutdown"
    done = watch(round_, "rounds of init and shutdown", accepted, subject.effort, most=_ROUNDS // 5, seconds=0.8)
    fewer = "" if done.number >= _ROUNDS else "; more would take too long"
    return f"{done.number:,} rounds, {done.bytes_each:,.1f} bytes each{fewer}"


@check("life-cycle", "bytes of this structure that the host filled", needs=("restarts",))
def host_larger(subject: Subject) -> str:
    """A host with more fields than this ABI defines, and without extensions, works the same."""
    alone = _once(subject)
    instance = subject.start(Host(extra=64))
    _compare(alone, _answers(instance, alone), "an instance with a backworks_host of 96 bytes")
    asked = ", ".join(sorted({repr(name) for name in instance.host.lookups}))
    instance.shutdown()
    return f"struct_size 96 instead of 32; get_extension, which returned NULL, was asked for {asked or 'nothing'}"


@check("life-cycle", "The first argument of the functions below", needs=("restarts",))
def log_context(subject: Subject) -> str:
    """The plugin logs with the context of the host that was passed to the instance."""
    hosts = [_run(subject), _run(subject)]
    for host in hosts:
        for record in host.records:
            if record.context != host.context:
                raise Failed(
                    f"log() was called with the context {record.context:#x} for {record.text!r}",
                    f"{host.context:#x}, as in the backworks_host of that instance",
                )
    return f"{sum(len(host.records) for host in hosts)} records from two instances"


@check(
    "life-cycle",
    "instance's shutdown returns (or until init returns, if it fails)",
    needs=("answers", "config-broken"),
)
def log_ends(subject: Subject) -> str:
    """After shutdown, and after a failed init, the plugin no longer uses the host."""
    hosts = [_run(subject)]
    for config in subject.bad_configs():
        started = subject.init(config)
        subject.end(started)
        hosts.append(started.host)
    time.sleep(0.1)  # time for a thread that was not stopped
    late = [record for host in hosts for record in host.records if record.late]
    if late:
        raise Failed(f"log() was called with {late[0].text!r} after shutdown() had returned", "no call after that")
    return f"{len(hosts)} instances, watched for 0.1 s after shutdown"


@check("life-cycle", "Gives the instance a new configuration, with the same arguments as init", needs=("answers",))
def reconfigure_same(subject: Subject) -> str:
    """Reconfigure with the same configuration succeeds, changes no answer, and leaks no memory."""
    _needs(subject, "reconfigure")
    instance = subject.start()
    before = subject.steady(instance)
    answer = instance.reconfigure(subject.config)
    if answer.code == 12:
        raise Skipped("reconfigure() returned UNIMPLEMENTED: the host creates a new instance instead")
    if answer.code != 0:
        raise Failed(f"reconfigure() with the configuration of init returned {answer}", "OK")
    _compare(before, _answers(instance, before), "after reconfigure() with the same configuration, the instance")
    done = watch(
        lambda: instance.reconfigure(subject.config), "calls of reconfigure", "no memory leaked", subject.effort
    )
    return f"OK, {done.number:,} times; {len(before)} requests answered as before"


@check("life-cycle", "On failure, the instance keeps", needs=("answers", "config-broken"))
def reconfigure_refused(subject: Subject) -> str:
    """If reconfigure rejects a configuration, the old one stays in effect."""
    _needs(subject, "reconfigure")
    instance = subject.start()
    before = subject.steady(instance)
    refused = 0
    for config in subject.bad_configs():
        answer = instance.reconfigure(config)
        if answer.code != 0:
            refused += 1
            after = f"after reconfigure(config {config!r}) returned {code_name(answer.code)}, the instance"
            _compare(before, _answers(instance, before), after)
        else:
            instance.reconfigure(subject.config)
    return f"{refused} configurations rejected; {len(before)} requests answered as before"


@check("life-cycle", "Reports whether the instance can do its work", needs=("answers",))
def health_check(subject: Subject) -> str:
    """The health check of a new instance returns OK, and its text, if any, is UTF-8."""
    _needs(subject, "health_check")
    answer = subject.start().health_check()
    if answer.broken is not None or not 0 <= answer.code <= 16:
        raise Failed(f"health_check() returned {answer}", "a code of the ABI, with or without a text")
    try:
        (answer.data or b"").decode()
    except UnicodeDecodeError:
        raise Failed(f"health_check() returned {answer}", "a text in UTF-8") from None
    if answer.code != 0:
        raise Warned(f"health_check() returned {answer} right after init", "OK")
    return f"returned {answer}"


def _needs(subject: Subject, function: str) -> None:
    if not subject.has(function):
        raise Skipped(f"the library does not export backworks_plugin_{function}, which is optional")


def _try_configs(subject: Subject, configs: Iterable[bytes]) -> str:
    accepted = rejected = 0
    last = None
    for config in configs:
        last = subject.init(config)
        subject.end(last)
        accepted += last.code == 0
        rejected += last.code != 0
    return f"{accepted} accepted, {rejected} rejected; the last: {last}"


def _run(subject: Subject) -> Host:
    instance = subject.start()
    for request in subject.requests:
        instance.call(request)
    instance.shutdown()
    return instance.host


def _once(subject: Subject) -> dict[Request, Answer]:
    instance = subject.start()
    try:
        return subject.steady(instance)
    finally:
        instance.shutdown()


def _answers(instance: Instance, like: Iterable[Request]) -> dict[Request, Answer]:
    return {request: instance.call(request) for request in like}


def _compare(before: dict[Request, Answer], after: dict[Request, Answer], who: str) -> None:
    for request, answer in before.items():
        if request in after and after[request] != answer:
            raise Failed(f"{request} returned {answer}; {who} returned {after[request]}", "the same answer")
