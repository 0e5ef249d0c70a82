"""The performer: what is tried once, what is tried for ever, and what becomes of each failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from structlog.testing import capture_logs

from provider.core.effects import (
    AskPrice,
    ConfirmLease,
    Effect,
    EndLease,
    PlaceBid,
    RefuseLease,
    ReportLease,
    ReportUsage,
    RestartService,
    StartWorkload,
    StopWorkload,
    WithdrawBid,
)
from provider.core.events import Failed, Performed
from provider.domain.errors import (
    ConfigError,
    ImageUnavailable,
    PeerError,
    Permanent,
    Temporary,
)
from provider.domain.ids import HOME, EffectId, MarketId
from provider.domain.market import Bid, CloseReason, LeaseHealth, Refusal, Refused, Usage
from provider.domain.moment import Span
from provider.domain.workload import Launch, Workload
from provider.shell import backoff
from provider.shell.perform import Performer
from provider.sim import vtime
from provider.sim.clock import LoopClock
from provider.sim.pricer import SimulatedPricer
from tests.agents import START, lease_of, rate
from tests.pricing import question

LEASE = lease_of()
KEY = EffectId("k")
RUNS = Workload(lease=LEASE, containers=())
START_IT = StartWorkload(id=KEY, launch=Launch(lease=LEASE, generation=1, replicas=()))
RESTART_IT = RestartService(id=KEY, lease=LEASE, service="web", generation=1, grace_s=10)
STOP_IT = StopWorkload(id=KEY, lease=LEASE, grace_s=7)
ASK_IT = AskPrice(id=KEY, bid=LEASE, question=question())
WHY = Refused(why=Refusal.BID_GONE)
BID = Bid(id=LEASE, rate=rate())
USAGE = Usage(lease=LEASE, number=1, running_ms=1, at=START)

CALLS: list[tuple[Effect, tuple[Any, ...]]] = [
    (START_IT, ("start", START_IT.launch)),
    (RESTART_IT, ("restart", LEASE, "web", 10)),
    (STOP_IT, ("stop", LEASE, 7)),
    (ASK_IT, ("price", ASK_IT.question)),
    (PlaceBid(id=KEY, bid=BID), ("place_bid", KEY, BID)),
    (WithdrawBid(id=KEY, bid=LEASE), ("withdraw_bid", KEY, LEASE)),
    (ConfirmLease(id=KEY, lease=LEASE), ("confirm_lease", KEY, LEASE)),
    (RefuseLease(id=KEY, lease=LEASE, why=WHY), ("refuse_lease", KEY, LEASE, WHY)),
    (
        ReportLease(id=KEY, lease=LEASE, health=LeaseHealth.RUNNING, detail="d"),
        ("report_lease", KEY, LEASE, LeaseHealth.RUNNING, (), "d"),
    ),
    (ReportUsage(id=KEY, usage=USAGE), ("report_usage", KEY, USAGE)),
    (
        EndLease(id=KEY, lease=LEASE, reason=CloseReason.GPU_FAILED, detail="d"),
        ("end_lease", KEY, LEASE, CloseReason.GPU_FAILED, "d"),
    ),
]
FOR_EVER = [
    effect for effect, _ in CALLS if not isinstance(effect, StartWorkload | RestartService | AskPrice)
]
REFUSABLE = [effect for effect, _ in CALLS if not isinstance(effect, StopWorkload)]


class Port:
    """Every port at once: fails as it is told, then answers."""

    def __init__(self, *failures: BaseException) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.times: list[float] = []
        self.said: list[str] = []
        """Events that were logged."""
        self._failures = list(failures)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*arguments: Any) -> Workload | None:
            self.calls.append((name, *arguments))
            self.times.append(asyncio.get_running_loop().time())
            if self._failures:
                raise self._failures.pop(0)
            return RUNS if name in {"start", "restart"} else None

        return call


def perform(effect: Effect, *failures: BaseException) -> tuple[Performed | Failed, Port]:
    async def main() -> tuple[Performed | Failed, Port]:
        port: Any = Port(*failures)
        chance = Random(1)  # noqa: S311 -- jitter, and the same in every run
        return await Performer(port, {HOME: port}, port, LoopClock(), chance).perform(effect), port

    with capture_logs() as said:
        result, port = vtime.run(main())
    port.said = [str(each["event"]) for each in said]
    return result, port


def name(value: object) -> str:
    return type(value).__name__


@pytest.mark.parametrize(("effect", "call"), CALLS, ids=lambda value: type(value).__name__)
def test_each_effect_is_one_call(effect: Effect, call: tuple[Any, ...]) -> None:
    result, port = perform(effect)
    assert port.calls == [call]
    assert result == Performed(effect=effect, workload=RUNS if effect in {START_IT, RESTART_IT} else None)


def test_every_effect_is_in_the_table() -> None:
    assert {type(effect) for effect, _ in CALLS} == set(Effect.__args__)


@pytest.mark.parametrize(
    "failure",
    [
        Temporary("away"),
        PeerError("nonsense"),
        ConfigError("misset"),
        KeyError("a bug"),
        ZeroDivisionError("one more"),
    ],
)
def test_a_start_that_fails_is_told_at_once_whatever_it_was(failure: Exception) -> None:
    result, port = perform(START_IT, failure)
    assert result == Failed(effect=START_IT, what=str(failure), is_final=False)
    assert len(port.calls) == 1


def test_a_hint_when_to_try_again_goes_along() -> None:
    result, _ = perform(START_IT, Temporary("busy", retry_after=Span(30_000)))
    assert isinstance(result, Failed)
    assert result.retry_after == 30_000


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ImageUnavailable("no such image"), CloseReason.IMAGE_UNAVAILABLE),
        (Permanent("a bad spec"), CloseReason.WORKLOAD_REFUSED),
    ],
)
def test_a_start_that_can_never_be_names_the_reason(failure: Permanent, reason: CloseReason) -> None:
    result, _ = perform(START_IT, failure)
    assert result == Failed(effect=START_IT, what=failure.what, is_final=True, reason=reason)


@pytest.mark.parametrize("effect", FOR_EVER, ids=name)
@pytest.mark.parametrize("kind", [Temporary, PeerError, KeyError])
def test_what_must_succeed_in_the_end_is_tried_until_it_does(effect: Effect, kind: type[Exception]) -> None:
    result, port = perform(effect, *[kind("it broke") for _ in range(20)])
    assert result == Performed(effect=effect)
    assert len(port.calls) == 21
    waits = [later - earlier for earlier, later in pairwise(port.times)]
    assert max(waits) <= backoff.MOST / 1000


@pytest.mark.parametrize("effect", REFUSABLE, ids=name)
def test_a_refusal_for_good_is_final(effect: Effect) -> None:
    result, port = perform(effect, Permanent("no"))
    assert isinstance(result, Failed)
    assert (result.what, result.is_final, len(port.calls)) == ("no", True, 1)


def test_a_removal_is_never_given_up() -> None:
    """Otherwise the lease would hold its GPUs for ever, and its containers would run on."""
    result, port = perform(STOP_IT, Permanent("the engine says no"), Permanent("and again"))
    assert (result, len(port.calls)) == (Performed(effect=STOP_IT), 3)


def test_a_hint_sets_the_wait() -> None:
    _, port = perform(STOP_IT, Temporary("busy", retry_after=Span(90_000)))
    assert port.times == [0, 90]


def test_cancellation_passes_through() -> None:
    with pytest.raises(asyncio.CancelledError):
        perform(START_IT, asyncio.CancelledError())


WAITS = [(0, 500), (1, 1000), (2, 2000), (6, 32_000), (7, 60_000), (50, 60_000), (10_000, 60_000)]


def test_waits_grow_to_a_minute_and_are_spread() -> None:
    random = Random(7)  # noqa: S311 -- jitter, and the same in every run
    for attempt, most in WAITS:
        waits = [backoff.wait(attempt, random) for _ in range(300)]
        assert 0 <= min(waits) < most * 0.1
        assert most * 0.9 < max(waits) <= most


def test_each_market_is_told_what_is_its_own_in_its_own_words() -> None:
    acme = MarketId("acme")
    ports: dict[MarketId, Any] = {HOME: Port(), acme: Port()}

    async def main() -> list[Performed | Failed]:
        performer = Performer(ports[HOME], ports, SimulatedPricer(), LoopClock(), Random(1))  # noqa: S311 -- jitter
        return [
            await performer.perform(ConfirmLease(id=KEY, lease=LEASE)),
            await performer.perform(ConfirmLease(id=KEY, lease=LEASE.within(acme))),
            await performer.perform(ConfirmLease(id=KEY, lease=LEASE.within(MarketId("left")))),
        ]

    first, second, third = vtime.run(main())
    assert isinstance(first, Performed)
    assert isinstance(second, Performed)
    assert second.effect == ConfirmLease(id=KEY, lease=LEASE.within(acme)), "the core hears its own ids"
    assert ports[HOME].calls == ports[acme].calls == [("confirm_lease", KEY, LEASE)]
    assert isinstance(third, Failed)
    assert third.is_final
