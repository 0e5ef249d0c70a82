"""What follows from a GPU's health: bids withdrawn, leases ended or left alone; what is remembered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provider.core.effects import EndLease, PlaceBid, WithdrawBid
from provider.core.events import GpuCordoned, GpuSignalsChanged, GpuUncordoned
from provider.core.gpu_records import RECORDS_MOST, record_of
from provider.core.health import ROW, words
from provider.core.health_row import BY_REBOOT
from provider.core.lease import Phase
from provider.domain.gpu import GpuHealth
from provider.domain.gpu_health import ActiveSignal, GpuSignal
from provider.domain.ids import GpuUuid
from provider.domain.market import CloseReason, Fault, Refusal
from provider.domain.moment import SECOND, Instant
from provider.domain.node import HostCapacity
from tests.agents import (
    ROOMY,
    Agent,
    ask,
    gpu,
    group,
    healthy,
    lease_of,
    node,
    nodes_read,
    order,
    resources,
    unit,
)
from tests.cards import Card, running

S = GpuSignal
DRAINS = [S.SUSPECT_XID, S.TOO_HOT, S.FOREIGN_PROCESS, S.CORDONED, S.RECOVERY_ADVISED]
EVICTS = [S.UNCORRECTED_ECC, S.RESET_NEEDED, S.REMAP_FAILED, S.GPU_LOST, S.XID_REPEATED]


def raised(signal: GpuSignal, uuid: str = "GPU-0", at: int = 0) -> GpuSignalsChanged:
    active = ActiveSignal(signal=signal, since=Instant(at), detail="as a test says")
    return GpuSignalsChanged(gpu=GpuUuid(uuid), raised=(active,))


# --- what degraded and unhealthy do


@pytest.mark.parametrize("signal", DRAINS)
def test_degraded_withdraws_bids_and_leaves_leases_alone(signal: GpuSignal) -> None:
    card = running(0, 1)
    card.agent.opens(2)
    card.agent.take(raised(signal))
    card.agent.take(raised(signal, "GPU-1"))
    assert card.agent.lease().phase is Phase.RUNNING
    assert lease_of(2) not in card.agent.state.bids
    assert [effect.bid for effect in card.agent.wanted if isinstance(effect, WithdrawBid)] == [lease_of(2)]
    assert card.agent.state.orders == {}
    card.agent.opens(3)
    assert card.agent.state.orders[order(3).id].refused.why is Refusal.GPU_UNHEALTHY


@pytest.mark.parametrize("signal", EVICTS)
def test_unhealthy_ends_the_lease_and_names_the_gpu(signal: GpuSignal) -> None:
    card = running()
    card.agent.take(raised(signal))
    lease = card.agent.lease()
    assert (lease.phase, lease.reason) == (Phase.STOPPING, CloseReason.GPU_FAILED)
    assert CloseReason.GPU_FAILED.fault is Fault.GPU
    assert lease.detail == f"GPU-0: {words(signal)}: as a test says"
    assert card.agent.last(EndLease).reason is CloseReason.GPU_FAILED
    assert card.now() is GpuHealth.UNHEALTHY


def test_only_the_sick_card_is_touched() -> None:
    agent = Agent(*healthy(0, 1))
    for number in (1, 2):
        agent.opens(number)
        agent.awards(number)
    agent.take(raised(S.RESET_NEEDED, "GPU-1"))
    assert {key.dseq: lease.phase for key, lease in agent.state.leases.items()} == {
        1: Phase.AWARDED,
        2: Phase.STOPPING,
    }


def test_a_degraded_card_is_sold_again_when_it_is_well_and_waiting_orders_get_it() -> None:
    agent = Agent(gpu(0))
    agent.take(raised(S.TOO_HOT))
    agent.opens()
    assert agent.state.bids == {}
    agent.take(GpuSignalsChanged(gpu=GpuUuid("GPU-0"), cleared=(S.TOO_HOT,)))
    assert lease_of() in agent.state.bids


def test_nothing_that_only_blinds_us_ends_a_lease() -> None:
    card = running()
    for signal in (S.TELEMETRY_LOST, S.PROBE_TROUBLE, S.GPU_MISSING):
        card.agent.take(raised(signal))
    card.agent.take(nodes_read(node()))
    assert card.agent.lease().phase is Phase.RUNNING


def test_a_broken_link_ends_only_a_lease_that_needs_it() -> None:
    single, pair = running(0), running(0, 1, units=2)
    single.fails(74)
    pair.fails(74)
    assert single.agent.lease().phase is Phase.RUNNING
    assert pair.agent.lease().reason is CloseReason.GPU_FAILED
    assert "NVLink fault" in pair.agent.lease().detail


def test_a_host_that_must_be_rebooted_bids_on_nothing() -> None:
    agent = Agent(*healthy(0, 1))
    agent.opens(1)
    agent.take(raised(S.REBOOT_ADVISED, "GPU-1"))
    assert agent.state.bids == {}
    agent.opens(2, group(unit(resources(gpus=ask(0)))))
    refused = agent.state.orders[order(2).id].refused
    assert refused.why is Refusal.NOT_BIDDING
    assert "reboot advised on GPU-1" in refused.available


def test_one_brake_is_a_cards_and_two_are_the_hosts() -> None:
    agent = Agent(*healthy(0, 1, 2))
    agent.take(raised(S.POWER_BRAKE, "GPU-0"))
    agent.opens(1)
    assert lease_of(1) in agent.state.bids
    agent.take(raised(S.POWER_BRAKE, "GPU-1"))
    assert agent.state.bids == {}


def test_a_host_that_is_blind_on_every_card_bids_on_nothing() -> None:
    agent = Agent(*healthy(0, 1))
    agent.take(raised(S.TELEMETRY_LOST, "GPU-0"))
    agent.opens(1)
    assert lease_of(1) in agent.state.bids
    agent.take(raised(S.TELEMETRY_LOST, "GPU-1"))
    assert agent.state.bids == {}


# --- what is remembered


def test_a_lost_card_stays_out_until_the_machine_was_rebooted() -> None:
    card = Card()
    card.becomes(health=GpuHealth.UNHEALTHY, problem="the GPU is lost")
    assert card.signals == {S.GPU_LOST}
    card.becomes(health=GpuHealth.HEALTHY, problem=None)
    assert card.now() is GpuHealth.UNHEALTHY
    rebooted = replace(ROOMY, boot_id="another")
    card.agent.take(nodes_read(node(gpu(0), capacity=rebooted)))
    assert (card.now(), card.signals) == (GpuHealth.HEALTHY, set())
    assert card.record.history[-1].detail == "the machine was rebooted"


@pytest.mark.parametrize("signal", GpuSignal)
def test_a_reboot_clears_what_the_table_says_and_no_more(signal: GpuSignal) -> None:
    card = Card()
    card.agent.take(raised(signal))
    rebooted: HostCapacity = replace(ROOMY, boot_id="another")
    card.agent.take(nodes_read(node(gpu(0), capacity=rebooted)))
    assert (signal not in card.signals) == (ROW[signal].clears in BY_REBOOT)


def test_what_the_probe_says_counts_while_it_says_so() -> None:
    card = Card()
    card.becomes(health=GpuHealth.DEGRADED, problem="it hangs")
    assert card.now() is GpuHealth.DEGRADED
    card.becomes(health=GpuHealth.HEALTHY, problem=None)
    assert card.now() is GpuHealth.HEALTHY


def test_the_operator_takes_a_card_out_and_puts_it_back() -> None:
    card = running()
    card.agent.take(GpuCordoned(gpu=card.uuid, why="its fan rattles"))
    assert card.agent.lease().phase is Phase.RUNNING
    assert card.now() is GpuHealth.DEGRADED
    assert card.agent.state.nodes[0].gpus[0].problem == "cordoned: its fan rattles"
    card.agent.take(GpuUncordoned(gpu=card.uuid))
    assert card.now() is GpuHealth.HEALTHY


@pytest.mark.parametrize("kind", [GpuCordoned, GpuUncordoned])
def test_a_card_that_nobody_knows_is_refused(kind: type[GpuCordoned] | type[GpuUncordoned]) -> None:
    step = Agent(gpu(0)).take(kind(gpu=GpuUuid("GPU-7")))
    assert step.refused is not None
    assert step.refused.why is Refusal.GPU_UNKNOWN
    assert set(step.state.gpu_records) == {"GPU-0"}


def test_the_operator_acknowledges_everything_but_the_check() -> None:
    card = Card()
    for signal in GpuSignal:
        card.agent.take(raised(signal))
    card.agent.take(GpuUncordoned(gpu=card.uuid))
    assert card.signals == {S.AWAITING_CHECK}


def test_what_is_still_so_comes_again_after_an_acknowledgement() -> None:
    card = Card()
    card.look(is_remap_failed=True)
    card.agent.take(GpuUncordoned(gpu=card.uuid))
    assert card.now() is GpuHealth.HEALTHY
    card.agent.passes(SECOND)
    card.look(is_remap_failed=True)
    assert card.now() is GpuHealth.UNHEALTHY


def test_a_thousand_cards_are_not_remembered() -> None:
    agent = Agent(gpu(0))
    agent.take(raised(S.REMAP_FAILED))
    for number in range(1, 1000):
        agent.take(GpuSignalsChanged(gpu=GpuUuid(f"GPU-{number}"), ecc_uncorrected=1))
    assert len(agent.state.gpu_records) == RECORDS_MOST
    assert record_of(agent.state, GpuUuid("GPU-0")).has(S.REMAP_FAILED)


def test_a_bid_on_a_card_that_fell_ill_is_never_confirmed() -> None:
    card = Card()
    card.agent.opens()
    card.fails(62)
    card.agent.awards()
    assert card.agent.state.leases == {}
    assert [effect for effect in card.agent.wanted if isinstance(effect, PlaceBid)]
