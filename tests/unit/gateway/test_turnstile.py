"""The turnstile: so often each, so often in all, and the memory of it bounded."""

from __future__ import annotations

import pytest

from provider.adapters.gateway import turnstile
from provider.adapters.gateway.turnstile import Turnstile
from provider.domain.moment import MINUTE, SECOND, Instant
from provider.rpc.status import Denied


class Watch:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.at = Instant(1_700_000_000_000)

    def now(self) -> Instant:
        return self.at

    async def sleep_until(self, instant: Instant) -> None:
        self.at = instant


def passes(stile: Turnstile, who: str) -> int:
    """How often ``who`` comes through until it is stopped."""
    count = 0
    while True:
        try:
            stile.enter(who)
        except Denied:
            return count
        count += 1


def test_each_has_so_many_and_gets_them_back_as_time_goes_by() -> None:
    watch = Watch()
    stile = Turnstile(watch, each=6, in_all=1000)
    assert passes(stile, "alice") == 6
    assert passes(stile, "bob") == 6, "another's are not touched"
    watch.at = Instant(watch.at + 10 * SECOND)
    assert passes(stile, "alice") == 1
    watch.at = Instant(watch.at + 60 * MINUTE)
    assert passes(stile, "alice") == 6, "they do not pile up"


def test_all_together_have_so_many() -> None:
    stile = Turnstile(Watch(), each=6, in_all=10)
    assert [passes(stile, who) for who in ("alice", "bob", "carol")] == [6, 4, 0]
    with pytest.raises(Denied, match="too many ask this provider") as denied:
        stile.enter("dave")
    assert (denied.value.reason, denied.value.remedy) == ("TOO_OFTEN", "try again in a minute")


def test_a_clock_that_is_set_back_gives_nothing_and_takes_nothing() -> None:
    watch = Watch()
    stile = Turnstile(watch, each=6, in_all=1000)
    stile.enter("alice")
    watch.at = Instant(watch.at - 60 * MINUTE)
    assert passes(stile, "alice") == 5


def test_only_so_many_members_are_remembered() -> None:
    stile = Turnstile(Watch(), each=1, in_all=10 * turnstile.MEMBERS_MOST)
    for number in range(turnstile.MEMBERS_MOST + 5):
        stile.enter(f"t{number}")
    assert len(stile._members) == turnstile.MEMBERS_MOST
    assert passes(stile, "t20") == 0
    assert passes(stile, "t0") == 1, "it was forgotten"
