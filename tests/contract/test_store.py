"""The contract of ``ports.Store``, on the fake and on SQLite: what was committed is there, and only that."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import pytest

from provider.adapters.store.sqlite import SqliteStore
from provider.core.agent import transition
from provider.core.bid_policy import BidPolicy
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
from provider.core.events import CoordinatorConnected, DrainSet, GpuCordoned, Performed, PolicyChanged
from provider.core.learning import Lesson, WinCurve, learned
from provider.core.policy import Policy
from provider.core.state import AgentState, Revision
from provider.core.step import Step
from provider.domain.gpu_health import GpuSignal
from provider.domain.ids import EffectId
from provider.domain.manifest import Credentials, HttpOptions, ManifestGroup, MountPoint, Proto, ServiceParams
from provider.domain.market import CloseReason, LeaseHealth, Refusal, Refused, Usage
from provider.domain.secret import Secret
from provider.domain.workload import PortBinding
from provider.ports import Store
from provider.sim.store import MemoryStore
from tests.agents import (
    HASH,
    POLICY,
    START,
    Agent,
    healthy,
    lease_of,
    manifest,
    node,
    nodes_read,
    order,
    settle,
)
from tests.cards import Card
from tests.idle_jobs import idle_job
from tests.pricing import question


class Disk(Protocol):
    """Opens what was stored so far, as the next process would."""

    def __call__(self, policy: Policy = POLICY) -> Store: ...


@pytest.fixture(params=["memory", "sqlite"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if request.param == "memory":
        processes = [MemoryStore(POLICY)]

        def restarted(policy: Policy = POLICY) -> Store:
            processes.append(processes[-1].restarted(policy))
            return processes[-1]

        yield restarted
        return
    opened: list[SqliteStore] = []

    def reopened(policy: Policy = POLICY) -> Store:
        for store in opened:
            store.close()
        opened.append(SqliteStore.open(tmp_path / "provider.db", policy))
        return opened[-1]

    yield reopened
    for store in opened:
        store.close()


def stored(state: AgentState) -> tuple[object, ...]:
    markets = {key: market.kept for key, market in state.markets.items()}
    return (dict(state.bids), dict(state.leases), list(state.orders.items()), markets)


def test_a_new_store_is_empty_and_has_the_policy(disk: Disk) -> None:
    state, effects = disk().load()
    assert (state, effects) == (AgentState(policy=POLICY), ())


def test_a_life_is_read_back_after_every_step(disk: Disk) -> None:
    store = disk()
    store.load()
    agent = Agent(*healthy(0, 1))
    launch: list[Callable[[], Step]] = [
        lambda: agent.opens(1),
        lambda: agent.opens(2),
        lambda: agent.opens(3),
        lambda: agent.awards(1),
        lambda: agent.sends(1),
        lambda: agent.done(agent.last(StartWorkload)),
        lambda: agent.later(10_000),
        lambda: agent.ends(1),
        lambda: agent.done(agent.last(StopWorkload)),
        lambda: agent.closes(3),
        lambda: agent.take(CoordinatorConnected(market="m", epoch=1)),
        lambda: agent.take(CoordinatorConnected(market="m", epoch=2, bid_deposit=500_000)),
    ]
    for act in launch:
        step = act()
        store.commit([step])
        found, effects = store.load()
        assert stored(found) == stored(step.state)
        assert effects == tuple(agent.open.values())
        store = disk()
        found, effects = store.load()
        assert stored(found) == stored(step.state)
        assert effects == tuple(agent.open.values())


def test_a_market_that_is_away_at_the_start_is_not_bid_in_beyond_the_budget_of_deposits(disk: Disk) -> None:
    limited = replace(POLICY, bids=BidPolicy(deposit_budget=Decimal(500_000)))
    store = disk(limited)
    store.load()
    agent = Agent(*healthy(0, 1), policy=limited)
    agreed = agent.take(CoordinatorConnected(market="m", epoch=1, bid_deposit=500_000))
    store.commit([agreed, agent.opens(1), agent.opens(2)])
    assert set(agent.state.bids) == {lease_of(1)}, "two would be beyond it"
    state, _ = disk(limited).load()
    assert transition(state, nodes_read(node(*healthy(0, 1))), START).effects == ()


def test_what_is_looked_up_again_is_not_kept(disk: Disk) -> None:
    agent = Agent(*healthy(0))
    disk().commit([agent.opens()])
    found, _ = disk().load()
    assert (found.nodes, found.runtime, found.connected, found.orphans) == ((), None, False, frozenset())


def test_the_policy_is_the_new_processes_own(disk: Disk) -> None:
    disk().commit([Agent(*healthy(0)).opens()])
    cheaper = replace(POLICY, stop_grace_s=1)
    assert disk(cheaper).load()[0].policy == cheaper


def test_many_steps_are_one_commit(disk: Disk) -> None:
    agent = Agent(*healthy(0))
    steps = [agent.opens(1), agent.awards(1), agent.sends(1)]
    disk().commit(steps)
    found, effects = disk().load()
    assert stored(found) == stored(agent.state)
    assert [type(effect) for effect in effects] == [PlaceBid, ConfirmLease, StartWorkload, ReportLease]


def test_an_effect_is_gone_once_its_result_is_committed(disk: Disk) -> None:
    agent = Agent(*healthy(0))
    store = disk()
    store.load()
    store.commit([agent.opens()])
    (bid,) = store.load()[1]
    store.commit([agent.take(Performed(effect=bid))])
    assert store.load()[1] == ()
    assert disk().load()[1] == ()


def test_an_effect_wanted_and_settled_in_one_commit_is_gone(disk: Disk) -> None:
    agent = Agent(*healthy(0))
    first = agent.opens()
    disk().commit([first, agent.done(first.effects[0])])
    assert disk().load()[1] == ()


def test_nothing_is_committed_by_no_steps(disk: Disk) -> None:
    disk().commit([])
    assert disk().load() == (AgentState(policy=POLICY), ())


def test_a_commit_that_fails_leaves_nothing_behind(disk: Disk) -> None:
    """An effect is wanted once: the second time is a bug, and nothing that came with it is kept."""
    store = disk()
    store.load()
    agent = Agent(*healthy(0))
    stop = StopWorkload(id=EffectId("x#1"), lease=lease_of(), grace_s=1)
    store.commit([Step(state=AgentState(policy=POLICY), effects=(stop,))])
    with pytest.raises((sqlite3.IntegrityError, AssertionError), match=r"UNIQUE|twice"):
        store.commit([agent.opens(), Step(state=agent.state, effects=(stop,))])
    assert store.load() == (AgentState(policy=POLICY), (stop,))
    assert disk().load() == (AgentState(policy=POLICY), (stop,))


def test_orders_come_back_in_the_order_in_which_they_opened(disk: Disk) -> None:
    agent = Agent(*healthy(0))
    store = disk()
    store.load()
    for number in (9, 8, 7, 6, 5, 8):
        store.commit([agent.opens(number)])
    found, _ = disk().load()
    assert [each.dseq for each in found.orders] == [7, 6, 5, 8]
    assert list(found.orders) == list(agent.state.orders)


def test_a_manifest_with_everything_in_it(disk: Disk) -> None:
    """Secrets come back as secrets, None and empty stay apart, decimals are exact."""
    agent = Agent(*healthy(0))
    agent.begin()
    (service,) = manifest(agent.lease().group).groups[0].services
    full = replace(
        service,
        command=(),
        args=("-c", "naïve \N{SNOWMAN}"),
        env=("A=1", "B"),
        expose=(
            replace(service.expose[0], proto=Proto.UDP, hosts=(), http_options=HttpOptions(max_body_bytes=1)),
        ),
        params=ServiceParams(
            storage=(MountPoint(name="data", mount="/data", read_only=True),), permissions=None, tee=""
        ),
        credentials=Credentials(host="registry", username="u", password=Secret("hush")),
    )
    content = replace(manifest(agent.lease().group), groups=(ManifestGroup(name="web", services=(full,)),))
    revision = Revision(manifest=content, manifest_hash=HASH)
    lease = replace(agent.lease(), current=revision, former=revision, reason=CloseReason.GPU_FAILED)
    rate = replace(lease.rate, amount=Decimal("0.000000000000000001"))
    state = replace(agent.state, leases={lease.id: replace(lease, rate=rate)})
    disk().commit([Step(state=state)])
    found = disk().load()[0].leases[lease.id]
    assert found == state.leases[lease.id]
    assert found.manifest is not None
    credentials = found.manifest.groups[0].services[0].credentials
    assert credentials is not None
    assert (repr(credentials.password), credentials.password.reveal()) == ("***", "hush")


def every_kind() -> tuple[Effect, ...]:
    agent = Agent(*healthy(0))
    agent.start()
    port = PortBinding(service="web", port=80, host_port=31000, external_port=80)
    lease = lease_of()
    usage = Usage(lease=lease, number=1, running_ms=5, at=START, is_final=True)
    return (
        *agent.wanted,
        AskPrice(id=EffectId("h"), bid=lease, question=question()),
        WithdrawBid(id=EffectId("a"), bid=lease),
        RefuseLease(id=EffectId("b"), lease=lease, why=Refused(why=Refusal.BID_GONE, required="x")),
        StopWorkload(id=EffectId("c"), lease=lease, grace_s=3),
        ReportLease(id=EffectId("d"), lease=lease, health=LeaseHealth.RUNNING, ports=(port,), detail="y"),
        ReportUsage(id=EffectId("e"), usage=usage),
        RestartService(id=EffectId("g"), lease=lease, service="web", generation=2, grace_s=3),
        EndLease(id=EffectId("f"), lease=lease, reason=CloseReason.WORKLOAD_UNSTABLE, detail="z"),
    )


def test_every_kind_of_effect_in_the_order_in_which_it_was_wanted(disk: Disk) -> None:
    effects = every_kind()
    assert {type(each) for each in effects} == set(Effect.__args__)
    disk().commit([Step(state=AgentState(policy=POLICY), effects=effects)])
    assert disk().load()[1] == effects


def test_what_is_remembered_of_gpus_is_read_back(disk: Disk) -> None:
    card = Card(policy=POLICY)
    card.look(ecc_uncorrected=2, ecc_corrected=7, energy_joules=5e6, is_remap_pending=True)
    card.fails(31, lease=lease_of(), count=3)
    card.fails(62)
    card.agent.take(GpuCordoned(gpu=card.uuid, why="its fan rattles"))
    store = disk()
    store.commit([Step(state=card.agent.state)])
    loaded, _ = disk().load()
    assert loaded.gpu_records == card.agent.state.gpu_records
    assert {each.signal for each in loaded.gpu_records[card.uuid].active} == {
        GpuSignal.REMAP_PENDING,
        GpuSignal.RESET_NEEDED,
        GpuSignal.CORDONED,
    }


def test_rows_that_are_gone_are_gone(disk: Disk) -> None:
    agent = Agent(*healthy(0))
    store = disk()
    store.load()
    store.commit([agent.opens(1), agent.opens(2), agent.awards(1), agent.sends(1)])
    store = disk()
    agent.state = replace(store.load()[0], nodes=agent.state.nodes, runtime=agent.state.runtime)
    agent.ends()
    settle(agent, StopWorkload)
    store.commit([Step(state=agent.state)])
    found, _ = disk().load()
    assert (dict(found.leases), list(found.orders)) == ({}, [])
    assert list(found.bids) == [order(2).id.lease(POLICY.provider)]


def test_what_was_learned_of_prices_is_remembered(disk: Disk) -> None:
    lesson = Lesson(kind="h100", listed_hour=Decimal(1_000), asked_hour=Decimal(1_080))
    curve = learned(WinCurve(), lesson, is_won=False, rival_hour=Decimal("900.5"))
    disk().commit([Step(state=AgentState(policy=POLICY, curves={"h100": curve}))])
    assert disk().load()[0].curves == {"h100": curve}
    disk().load()
    changed = learned(curve, lesson, is_won=True)
    store = disk()
    state, _ = store.load()
    store.commit([Step(state=replace(state, curves={"h100": changed}))])
    assert disk().load()[0].curves == {"h100": changed}


def test_where_the_idle_job_is_comes_back(disk: Disk) -> None:
    idling = replace(POLICY, idle=idle_job())
    agent = Agent(policy=idling)
    for event in (nodes_read(node(*healthy(0, 1))), DrainSet(is_draining=True)):
        store = disk(idling)
        store.load()
        store.commit([agent.take(event)])
        found, unfinished = disk(idling).load()
        assert (len(found.idle), found.idle) == (2, agent.state.idle)
        assert {effect.id for effect in unfinished} == set(agent.open)
    store = disk()
    store.load()
    store.commit([agent.take(PolicyChanged(policy=POLICY))])
    for effect in list(agent.open.values()):
        store.commit([agent.done(effect)])
    found, unfinished = disk().load()
    assert (found.idle, unfinished) == (agent.state.idle, ())
    assert not any(run.is_on for run in found.idle.values())
