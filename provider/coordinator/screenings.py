"""Dry runs that the market's owner asks providers for, over their sessions.

Owns the questions that wait, and what is said of a provider that does not answer. Does not own the answers
(the provider's ``core.screening``). Nothing is kept: a question lives as long as somebody waits.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field

from provider.coordinator.sessions import SCREENING, Sessions
from provider.domain.ids import ProviderId
from provider.rpc.v1 import market_pb2 as pb
from provider.rpc.v1.resources_pb2 import GroupSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Would you bid on ``group``, were it an order of ``owner``?"""

    group: GroupSpec
    owner: str


@dataclass(slots=True)
class Screenings:
    """All that wait, by who is asked and the question's name."""

    sessions: Sessions
    _waiting: dict[tuple[ProviderId, str], asyncio.Future[pb.Screened]] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def hear(self, provider: ProviderId, screened: pb.Screened) -> None:
        """An answer came; nothing where nobody waits for it any more."""
        waiting = self._waiting.get((provider, screened.screening))
        if waiting is not None and not waiting.done():
            waiting.set_result(screened)

    async def ask(self, provider: ProviderId, question: Question, patience_s: float) -> pb.Screened:
        """What it says, or the problem. Who is away is not waited for; who leaves and comes back is."""
        if provider not in self.sessions:
            return pb.Screened(problem="not connected to the market")
        if not self.sessions.screens(provider):
            return pb.Screened(problem="its software is too old to be asked")
        name = f"screening-{next(self._numbers)}"
        wanted = pb.ScreeningWanted(screening=name, owner=question.owner, group=question.group)
        answer: asyncio.Future[pb.Screened] = asyncio.get_running_loop().create_future()
        self._waiting[provider, name] = answer
        try:
            with self.sessions.wanting(provider, name, {SCREENING: wanted}):
                async with asyncio.timeout(patience_s):
                    return await answer
        except TimeoutError:
            gone = "" if provider in self.sessions else ": its connection was lost"
            return pb.Screened(problem=f"no answer within {patience_s:g} s{gone}")
        finally:
            del self._waiting[provider, name]
