"""Cancels calls to a worker process at random moments while other threads keep the interpreter busy.

It fails if a call raises anything but what it was cancelled with, or gets the answer of another. Run as
``python tests/isolated/cancelled.py LIBRARY SECONDS``, with a library that sleeps for the microseconds that its data
begins with and answers the data.
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time

import backworks

#: Threads that hold the interpreter lock, so that event loops run late and in turns.
_BUSY = 4


def _spin(over: threading.Event) -> None:
    while not over.is_set():
        pass


async def _call(plugin: backworks.Plugin, number: int) -> None:
    data = f"300:{number}"
    task = asyncio.create_task(plugin.process_endpoint_data_async("/e", "POST", data))
    await asyncio.sleep(random.uniform(0.0003, 0.0006))
    task.cancel()
    try:
        answer = await task
    except asyncio.CancelledError:
        return
    assert answer == data


async def _run(plugin: backworks.Plugin, seconds: float) -> int:
    number = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await asyncio.gather(*(_call(plugin, number + offset) for offset in range(2)))
        number += 2
    return number


def main() -> None:
    """Runs it, and says how many calls there were."""
    library, seconds = sys.argv[1], float(sys.argv[2])
    sys.setswitchinterval(1e-5)
    over = threading.Event()
    for _ in range(_BUSY):
        threading.Thread(target=_spin, args=(over,), daemon=True).start()
    with backworks.load(library, isolation="process", workers=2, timeout=20.0) as plugin:
        print(asyncio.run(_run(plugin, seconds)), "calls")
        over.set()


if __name__ == "__main__":
    main()
