"""A soak: many clients, several plugins in worker processes, and everything that can happen to them, for minutes.

``python tests/soak.py [SECONDS]``, or ``make soak``. Client threads and asyncio tasks call four plugins through one
manager, with payloads that are never the same. Meanwhile workers are killed at random, library files are replaced and
reloaded, the configuration is changed and reloaded, and some calls are given no time or are cancelled.

What must hold: each call has exactly one outcome. That is its own payload, from a version of the plugin that was there
at the time; or PluginCrashed, at most once for each kill; or, for a call that was given no time, PluginTimeout; or, for
one that was cancelled, that. Memory, descriptors and processes of the last third are those of the first, and after the
end nothing is left. Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import json
import logging
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conftest import ECHO, PATIENCE
from leftovers import Traces, descriptors, has_mapped, memory, wait_for_end, workers

import backworks
from backworks import PluginCrashed, PluginManager, PluginTimeout, sdk
from backworks.loading.private import private_directory

__all__ = ["Result", "build", "soak"]

NAMES = ("north", "east", "south", "west")
THREADS = 4
TASKS = 8

#: Seconds between samples, kills, replaced files and changed configurations.
SAMPLE, KILL, REPLACE, CONFIGURE = 0.25, 0.1, 0.7, 1.1

#: No time at all, nearly.
HASTE = 0.0005

#: Bytes that the host may have more in the last third than in the first: what its allocator does not give back.
MEMORY_SLACK = 12 << 20
DESCRIPTOR_SLACK = 16
PROCESS_SLACK = 3

#: Answers with the version of the library, a colon and what it was sent.
VERSIONED = ECHO.replace(
    "  return backworks_answer(response, request->data, request->data_size);",
    """  char *data = malloc(2 + request->data_size);
  if (data != NULL) {
    data[0] = VERSION[0];
    data[1] = ':';
    memcpy(data + 2, request->data, request->data_size);
  }
  return backworks_answer_owned(response, data, 2 + request->data_size);""",
)


@dataclass(frozen=True)
class Sample:
    """What there was at one moment."""

    memory: int
    descriptors: int
    processes: int


@dataclass
class Result:
    """What has happened.

    Attributes:
        outcomes: How many calls ended how.
        kills: How many workers were killed from outside.
        reloads: How often one plugin, or the configuration, was reloaded.
        wrong: What must not happen.
        samples: What the host had.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    reloads: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{what}: {count}" for what, count in sorted(self.outcomes.items())]
        lines += [f"workers killed: {self.kills}"]
        lines += [f"reloads of {what}: {count}" for what, count in sorted(self.reloads.items())]
        for what in ("memory", "descriptors", "processes"):
            first, last = self.thirds(what)
            lines.append(f"{what}: {first:,.0f} in the first third, {last:,.0f} in the last")
        return "\n".join([*lines, *self.wrong])

    def thirds(self, what: str) -> tuple[float, float]:
        """The median of one number in the first and in the last third."""
        values = [getattr(sample, what) for sample in self.samples]
        third = max(1, len(values) // 3)
        return statistics.median(values[:third]), statistics.median(values[-third:])


def build(directory: Path) -> dict[str, Path]:
    """Compiles the two versions of the plugin and returns them by the letter that they answer with."""
    source = directory / "versioned.c"
    source.write_text(VERSIONED, encoding="utf-8")
    built = {}
    for version in "12":
        built[version] = directory / f"versioned{version}.so"
        flags = [f'-DVERSION="{version}.0.0"', '-DNAME="soak"', "-std=c11", "-O1", "-shared", "-fPIC"]
        subprocess.run(
            [os.environ.get("CC", "cc"), *flags, f"-I{sdk.path('c')}", source, "-o", built[version]], check=True
        )
    return built


class Soak:
    """One run.

    Args:
        directory: Where files may be put.
        versions: What :func:`build` returned.
    """

    def __init__(self, directory: Path, versions: dict[str, Path], seed: int) -> None:
        self._directory = directory
        self._versions = versions
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._counting = threading.Lock()
        self._numbers = itertools.count()
        self._workers = dict.fromkeys(NAMES, 2)
        self.result = Result()
        for name in NAMES:
            self._put(name)
        self._write_config()
        self._manager = PluginManager.from_config(self._config)

    @property
    def _config(self) -> Path:
        return self._directory / "backworks.yaml"

    def _library(self, name: str) -> Path:
        return self._directory / f"{name}.so"

    def _put(self, name: str) -> None:
        """Puts either version in the place of a plugin's library, as an installer does: by a rename."""
        new = self._directory / f"{name}.new"
        shutil.copy(self._versions[self._random.choice("12")], new)
        new.replace(self._library(name))

    def _write_config(self) -> None:
        plugins: dict[str, Any] = {
            name: {
                "path": str(self._library(name)),
                "isolation": "process",
                "workers": self._workers[name],
                "timeout": PATIENCE,
                "queue": 1000,
                "restart": {"initial": "1ms", "maximum": "10ms"},
                "breaker": False,
                "health_check": "300ms",
            }
            for name in NAMES
        }
        new = self._config.with_suffix(".new")
        new.write_text(json.dumps({"plugins": plugins}), encoding="utf-8")
        new.replace(self._config)

    def run(self, seconds: float) -> Result:
        """Runs all of it for so long, and ends it."""
        threads = [
            *(threading.Thread(target=self._guarded(self._client), name=f"client {i}") for i in range(THREADS)),
            threading.Thread(target=self._guarded(lambda: asyncio.run(self._clients())), name="clients"),
            threading.Thread(target=self._guarded(self._kill), name="killer"),
            threading.Thread(target=self._guarded(self._replace), name="installer"),
            threading.Thread(target=self._guarded(self._configure), name="operator"),
        ]
        for thread in threads:
            thread.start()
        end = time.monotonic() + seconds
        begun = time.monotonic() + seconds / 10  # until every cache is as full as it gets
        while not self._stop.wait(SAMPLE) and time.monotonic() < end:
            if time.monotonic() > begun:
                gc.collect()  # what is left is held by somebody
                there = Sample(memory(), descriptors(), len(workers(os.getpid())))
                self.result.samples.append(there)
        self._stop.set()
        for thread in threads:
            thread.join(2 * PATIENCE)
            if thread.is_alive():
                frames = sys._current_frames().get(thread.ident or 0)
                where = "".join(traceback.format_stack(frames)) if frames else ""
                self.result.wrong.append(f"{thread.name} waits for ever:\n{where}")
        self._manager.close(10)
        self._judge()
        return self.result

    def _judge(self) -> None:
        result = self.result
        if result.outcomes["crashed"] + result.reloads["a worker that died at once"] > result.kills:
            result.wrong.append("more calls crashed than workers were killed")
        if not result.outcomes["answered"]:
            result.wrong.append("nothing was answered")
        slack = {"memory": MEMORY_SLACK, "descriptors": DESCRIPTOR_SLACK, "processes": PROCESS_SLACK}
        for what, more in slack.items():
            first, last = result.thirds(what)
            if last > first + more:
                result.wrong.append(f"{what} grew from {first:,.0f} to {last:,.0f}")

    def _guarded(self, part: Any) -> Any:
        def run() -> None:
            try:
                part()
            except BaseException:
                self.result.wrong.append(f"{threading.current_thread().name}:\n{traceback.format_exc()}")
                self._stop.set()

        return run

    def _count(self, outcome: str) -> None:
        with self._counting:
            self.result.outcomes[outcome] += 1

    def _requests(self) -> Iterator[tuple[str, bytes, bool]]:
        """Names of plugins, payloads, and whether the call has no time, until it is over."""
        chance = random.Random(next(self._numbers))
        while not self._stop.is_set():
            size = chance.choice((10, 10, 100, 1000, 10_000, 100_000))
            if chance.random() < 0.003:
                size = 3 << 20
            head = b"%d " % next(self._numbers)
            yield chance.choice(NAMES), head + bytes([chance.randrange(256)]) * size, chance.random() < 0.005

    def _check(self, name: str, payload: bytes, answer: object) -> None:
        if not isinstance(answer, bytes) or answer[2:] != payload or answer[:2] not in {b"1:", b"2:"}:
            shown = answer[:40] if isinstance(answer, bytes) else answer
            self.result.wrong.append(f"{name} answered {shown!r} to {payload[:40]!r}")
        self._count("answered")

    def _client(self) -> None:
        for name, payload, hasty in self._requests():
            timeout = HASTE if hasty else PATIENCE
            try:
                answer = self._manager.process_endpoint_data(
                    name, "/soak", data=payload, as_bytes=True, timeout=timeout
                )
            except PluginCrashed:
                self._count("crashed")
            except PluginTimeout:
                if not hasty:
                    raise
                self._count("had no time")
            except backworks.PluginUnavailable:
                if not hasty:  # it may have spent its time in waiting for a worker
                    raise
                self._count("had no time")
            else:
                self._check(name, payload, answer)

    async def _clients(self) -> None:
        await asyncio.gather(*(self._task() for _ in range(TASKS)))

    async def _task(self) -> None:
        for name, payload, hasty in self._requests():
            call = self._manager.process_endpoint_data_async(
                name, "/soak", data=payload, as_bytes=True, timeout=PATIENCE
            )
            try:
                if hasty:
                    async with asyncio.timeout(HASTE):
                        answer = await call
                else:
                    answer = await call
            except PluginCrashed:
                self._count("crashed")
            except TimeoutError:
                if not hasty:
                    raise
                self._count("cancelled")
            else:
                self._check(name, payload, answer)
            await asyncio.sleep(0)

    def _kill(self) -> None:
        chance = random.Random(1)
        while not self._stop.wait(KILL * 2 * chance.random()):
            alive = sorted(workers(os.getpid()))
            if alive:
                victim = chance.choice(alive)
                with contextlib.suppress(ProcessLookupError):
                    handle = os.pidfd_open(victim)
                    try:
                        if victim in workers(os.getpid()):  # the number has not gone to somebody else
                            self.result.kills += 1
                            signal.pidfd_send_signal(handle, signal.SIGKILL)
                    finally:
                        os.close(handle)

    def _replace(self) -> None:
        chance = random.Random(2)
        while not self._stop.wait(REPLACE * 2 * chance.random()):
            name = chance.choice(NAMES)
            self._put(name)
            self._reload("one plugin", lambda name=name: self._manager.reload(name, PATIENCE))

    def _configure(self) -> None:
        chance = random.Random(3)
        while not self._stop.wait(CONFIGURE * 2 * chance.random()):
            self._workers[chance.choice(NAMES)] = chance.choice((1, 2, 3))
            self._write_config()
            self._reload("the configuration", lambda: self._manager.reload_config(timeout=PATIENCE))

    def _reload(self, what: str, reload: Any) -> None:
        try:
            reload()
        except PluginCrashed:  # the killer was faster
            self.result.reloads["a worker that died at once"] += 1
        else:
            self.result.reloads[what] += 1


def soak(seconds: float, directory: Path, seed: int = 0) -> Result:
    """Runs a soak, and looks at what it leaves behind."""
    versions = build(directory)
    with backworks.load(versions["1"], isolation="process"):
        pass  # what is made once and stays
    staged = private_directory()
    before = Traces.now(staged)
    result = Soak(directory, versions, seed).run(seconds)
    if left := wait_for_end(has_mapped(staged)):
        result.wrong.append(f"processes {left} are left")
    after = Traces.now(staged)
    for what in ("children", "descriptors", "threads"):
        was, now = getattr(before, what), getattr(after, what)
        if now != was:
            more = Counter(map(str, now)) - Counter(map(str, was))
            less = Counter(map(str, was)) - Counter(map(str, now))
            result.wrong.append(f"{what}: {dict(more)} are left, {dict(less)} are gone")
    return result


def main() -> None:
    """Ends with 0 if all held, and with what did not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("seconds", nargs="?", type=float, default=180.0)
    arguments = parser.parse_args()
    logging.disable()  # it would be all about workers that died
    with tempfile.TemporaryDirectory() as directory:
        result = soak(arguments.seconds, Path(directory), seed=random.randrange(1 << 30))
    print(result)
    if result.wrong:
        sys.exit("the soak has found something")


if __name__ == "__main__":
    main()
