"""How often each member of the market may ask what costs us work: a bucket of tokens each, and one for all.

Invariant: no more is remembered than of ``MEMBERS_MOST``; whoever asked longest ago is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from grpc import StatusCode

from provider.domain.moment import MINUTE, Instant
from provider.ports import Clock
from provider.rpc.status import Denied

MEMBERS_MOST = 10_000


@dataclass(slots=True)
class _Bucket:
    left: float
    at: Instant

    def fill(self, at: Instant, per_minute: int) -> None:
        """A clock that was set back fills nothing."""
        self.left = min(self.left + max(at - self.at, 0) * per_minute / MINUTE, per_minute)
        self.at = at


class Turnstile:
    """``each`` of a member and ``in_all`` of everybody a minute; so many may come at once, too."""

    def __init__(self, clock: Clock, *, each: int, in_all: int) -> None:
        self._clock = clock
        self._each = each
        self._in_all = in_all
        self._all = _Bucket(left=in_all, at=clock.now())
        self._members: OrderedDict[str, _Bucket] = OrderedDict()

    def enter(self, who: str) -> None:
        """``Denied`` where it is too much."""
        at = self._clock.now()
        mine = self._members.pop(who, None) or _Bucket(left=self._each, at=at)
        self._members[who] = mine
        if len(self._members) > MEMBERS_MOST:
            self._members.popitem(last=False)
        mine.fill(at, self._each)
        self._all.fill(at, self._in_all)
        if mine.left < 1:
            raise _too_often(f"{who} may ask {self._each} times a minute")
        if self._all.left < 1:
            raise _too_often("too many ask this provider")
        mine.left -= 1
        self._all.left -= 1


def _too_often(what: str) -> Denied:
    return Denied(StatusCode.RESOURCE_EXHAUSTED, "TOO_OFTEN", what, remedy="try again in a minute")
