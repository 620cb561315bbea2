"""All schedules of the mailbox's handover: host, worker, and the supervisor that reports the worker's death.

The steps are those of ``mailbox_post``, ``mailbox_sleep`` and ``mailbox_arm`` in ``native/wire/mailbox.h`` and of
``notify``, ``box_wait`` and ``box_look`` in ``native/fastpath/mailbox*.c``, one memory access or system call each, in
the order of the source. The accesses are sequentially consistent, so interleaving them covers everything that can
happen. The model omits polling (one check, then sleep) and the host's time slices, which could hide a lost wake-up. A
state without a next step in which the host still waits is a lost wake-up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

AWAKE, ON_FUTEX, ON_EVENT = 0, 1, 2
ENDED_BIT = 0x80000000

#: The number of calls that the host makes.
CALLS = 2


class State(NamedTuple):
    """The position of each participant, and their shared memory."""

    host: str = "post"
    worker: str = "check"
    supervisor: str = "kill"
    call: int = 1  # the number of the host's call
    outcome: str = ""
    received: int = 0  # the number of the call that the worker received
    seen: int = AWAKE  # the value of `sleeps` that the host read when it sent
    worker_seen: int = AWAKE  # the same for the worker
    request: int = 0
    request_sleeps: int = AWAKE
    reply: int = 0
    reply_sleeps: int = AWAKE
    event: int = 0
    called_back: bool = False  # call_soon_threadsafe
    ended: bool = False
    expected: int = 0  # the value that notify compares with


class Model(NamedTuple):
    """A variant: how the host waits, whether the worker may die, and which step is broken."""

    mode: str  # "futex" or "event"
    death: bool = True
    broken: str = ""

    def steps(self, state: State) -> Iterator[State]:
        """Yields all possible next states."""
        yield from self._host(state)
        if state.supervisor == "kill":
            yield from self._worker(state)
        if self.death:
            yield from self._supervisor(state)

    def _host(self, s: State) -> Iterator[State]:
        old = s.call - 1
        if s.host == "post":  # mailbox_post
            if self.broken == "sleeps is read first":
                yield s._replace(host="late post", seen=s.request_sleeps)
            else:
                yield s._replace(host="read sleeps", request=s.call)
        elif s.host == "late post":
            yield s._replace(host="wake", request=s.call)
        elif s.host == "read sleeps":
            yield s._replace(host="wake", seen=s.request_sleeps)
        elif s.host == "wake":
            woken = _wake_worker(s) if s.seen == ON_FUTEX else s
            yield woken._replace(host="check" if self.mode == "futex" else "arm")
        elif s.host == "check":  # box_wait, and mailbox_sleep
            yield s._replace(host="take" if s.reply != old else "read ended")
        elif s.host == "read ended":
            yield s._replace(host="take" if s.ended else "sleeps")
        elif s.host == "sleeps":
            yield s._replace(host="futex" if self.broken == "no recheck" else "recheck", reply_sleeps=ON_FUTEX)
        elif s.host == "recheck":
            yield s._replace(host="futex" if s.reply == old else "awake")
        elif s.host == "futex":
            blind = self.broken == "no recheck"
            yield s._replace(host="asleep" if blind or s.reply == old else "awake")
        elif s.host == "awake":
            yield s._replace(host="check", reply_sleeps=AWAKE)
        elif s.host == "arm":  # mailbox_arm
            yield s._replace(host="in loop" if self.broken == "no recheck" else "rearm", reply_sleeps=ON_EVENT)
        elif s.host == "rearm":
            yield s._replace(host="disarm" if s.reply != old else "begun")
        elif s.host == "begun":
            yield s._replace(host="take" if s.ended else "in loop")
        elif s.host == "in loop":
            if s.event or s.called_back:
                yield s._replace(host="advance", event=0, called_back=False)
        elif s.host == "advance":
            yield s._replace(host="disarm" if s.ended else "arm")
        elif s.host == "disarm":
            yield s._replace(host="take", reply_sleeps=AWAKE)
        elif s.host == "take":
            if s.reply != s.call:
                yield s._replace(host="done", outcome="gone" if s.ended else f"wrong number {s.reply:#x}")
            elif s.call == CALLS:
                yield s._replace(host="done", outcome="answered")
            else:
                yield s._replace(host="post", call=s.call + 1)

    def _worker(self, s: State) -> Iterator[State]:
        if s.worker == "check":  # mailbox_receive, and mailbox_sleep
            yield s._replace(worker="receive" if s.request != s.received else "sleeps")
        elif s.worker == "sleeps":
            yield s._replace(worker="recheck", request_sleeps=ON_FUTEX)
        elif s.worker == "recheck":
            yield s._replace(worker="futex" if s.request == s.received else "awake")
        elif s.worker == "futex":
            yield s._replace(worker="asleep" if s.request == s.received else "awake")
        elif s.worker == "awake":
            yield s._replace(worker="check", request_sleeps=AWAKE)
        elif s.worker == "receive":
            yield s._replace(worker="post", received=s.request)
        elif s.worker == "post":  # mailbox_answer: mailbox_post
            if self.broken == "sleeps is read first":
                yield s._replace(worker="late post", worker_seen=s.reply_sleeps)
            else:
                yield s._replace(worker="read sleeps", reply=s.received)
        elif s.worker == "late post":
            yield s._replace(worker="wake", reply=s.received)
        elif s.worker == "read sleeps":
            yield s._replace(worker="wake", worker_seen=s.reply_sleeps)
        elif s.worker == "wake":
            if s.worker_seen == ON_FUTEX:
                s = _wake_host(s)
            elif s.worker_seen == ON_EVENT:
                s = s._replace(event=1)
            yield s._replace(worker="check")

    def _supervisor(self, s: State) -> Iterator[State]:
        if s.supervisor == "kill":  # the worker stops at any step
            yield s._replace(supervisor="ended")
        elif s.supervisor == "ended":  # notify
            yield s._replace(supervisor="wake" if self.broken == "notify keeps the number" else "number", ended=True)
        elif s.supervisor == "number":
            yield s._replace(supervisor="exchange", expected=s.call - 1)
        elif s.supervisor == "exchange":
            changed = s.expected ^ ENDED_BIT if s.reply == s.expected else s.reply
            yield s._replace(supervisor="wake", reply=changed)
        elif s.supervisor == "wake":
            yield _wake_host(s)._replace(supervisor="call back")
        elif s.supervisor == "call back":
            yield s._replace(supervisor="done", called_back=True)


def _wake_host(s: State) -> State:
    return s._replace(host="awake") if s.host == "asleep" else s


def _wake_worker(s: State) -> State:
    return s._replace(worker="awake") if s.worker == "asleep" else s


def explore(model: Model) -> tuple[int, set[str]]:
    """Explores all schedules.

    Returns:
        The number of states, and the possible outcomes for the host: ``answered``, ``gone``, a wrong number, or
        ``lost: ...`` for a wait that never ends.
    """
    seen = {State()}
    waiting = [State()]
    outcomes = set()
    while waiting:
        state = waiting.pop()
        following = list(model.steps(state))
        if state.host == "done":
            outcomes.add(state.outcome)
        elif not following:
            outcomes.add(f"lost: the host is {state.host}, the worker {state.worker}")
        for after in following:
            if after not in seen:
                seen.add(after)
                waiting.append(after)
    return len(seen), outcomes
