"""Following a lease's log for as long as its reader wants, over lost connections.

Owns where each replica's log was left. Invariant: a line that was given is not given again, and one that
the provider still has is not left out: after an interruption every replica goes on behind its own last line.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace

from provider.app.lease_client import LeaseCalls
from provider.domain.errors import Temporary
from provider.domain.workload import LogBatch
from provider.ports import LogRequest
from provider.rpc.v1 import lease_pb2

SLACK_NS = 5_000_000_000
"""How much later than others' one replica's lines may arrive: asked for again, and left out if known."""
PAUSES_S: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Between two tries to connect; the last one repeats."""
Connect = Callable[[], AbstractAsyncContextManager[LeaseCalls]]
Say = Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Position:
    """How far a log has been read."""

    wanted: LogRequest
    last_ns: dict[tuple[str, int], int] = field(default_factory=dict)
    """Of each replica."""

    def request(self) -> LogRequest:
        """For what is still to be read."""
        if not self.last_ns:
            return self.wanted
        since_ns = max(self.wanted.since_ns, min(self.last_ns.values()) - SLACK_NS)
        if len(self.last_ns) == 1 and self.wanted.replica is not None:
            since_ns = max(self.last_ns.values())
        return replace(self.wanted, tail=None, since_ns=since_ns)

    def fresh(self, batch: LogBatch) -> LogBatch | None:
        """Of ``batch`` what was not read before."""
        key = (batch.service, batch.replica)
        last_ns = self.last_ns.get(key, 0)
        self.last_ns[key] = max(last_ns, *batch.at_ns)
        if batch.at_ns[0] > last_ns:
            return batch
        kept = sum(at_ns > last_ns for at_ns in batch.at_ns)
        return batch.last(kept) if kept else None


async def followed(connect: Connect, wanted: LogRequest, say: Say) -> AsyncGenerator[LogBatch, None]:
    """Until the lease ends, or all is read where ``wanted`` does not follow.

    ``Temporary`` where not even the first connection comes about; later ones are tried for ever, and ``say``
    hears of them.
    """
    position, was_connected, failures = Position(wanted=wanted), False, 0
    while True:
        try:
            async with connect() as calls:
                async for answer in calls.logs(position.request()):
                    if failures:
                        say("the log goes on")
                        failures = 0
                    was_connected = True
                    fresh = position.fresh(batch_of(answer))
                    if fresh is not None:
                        yield fresh
        except Temporary as away:
            if not (wanted.follow and was_connected):
                raise
            if not failures:
                say(f"the log is interrupted: {away.what}; connecting again")
            await asyncio.sleep(PAUSES_S[min(failures, len(PAUSES_S) - 1)])
            failures += 1
        else:
            return


def batch_of(answer: lease_pb2.StreamLogsResponse) -> LogBatch:
    return LogBatch(
        service=answer.service,
        replica=answer.replica,
        is_stderr=answer.is_stderr,
        at_ns=tuple(answer.at_ns),
        text=answer.text,
    )
