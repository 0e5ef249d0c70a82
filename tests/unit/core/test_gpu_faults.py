"""What Xids come to: whose they are, what they raise, which are our own doing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provider.core.effects import StopWorkload
from provider.core.events import GpuFaultSeen, GpuUncordoned
from provider.core.lease import Phase
from provider.core.step import GpuFaulted, GpuSignalMoved
from provider.domain.gpu import Gpu, GpuFault, GpuHealth, MigSlice
from provider.domain.gpu_health import GpuSignal, XidClass
from provider.domain.ids import GpuUuid, LeaseId
from provider.domain.moment import HOUR, MINUTE, SECOND, Instant
from tests.agents import (
    H100,
    ROOMY,
    Agent,
    ask,
    gpu,
    group,
    lease_of,
    node,
    nodes_read,
    resources,
    settle,
    sole,
    unit,
)
from tests.cards import Card, running

S = GpuSignal


# --- Xids


def test_a_programs_fault_is_the_tenants_and_the_card_stays_well() -> None:
    card = running()
    step = card.fails(13, count=3)
    faulted = sole(step.notes, GpuFaulted)
    assert (faulted.lease, faulted.kind, faulted.count) == (lease_of(), XidClass.APP, 3)
    assert card.now() is GpuHealth.HEALTHY


def test_the_same_fault_of_several_tenants_is_the_cards() -> None:
    card = Card()
    for owner, expected in (("alice", set()), ("bob", set()), ("alice", {S.APP_FAULTS})):
        card.agent.passes(HOUR)
        card.fails(31, lease=lease_of(1, owner))
        assert card.signals == expected
    assert card.now() is GpuHealth.DEGRADED


ALICE, AGAIN, BOB = lease_of(1), lease_of(2), lease_of(1, "bob")


@pytest.mark.parametrize(
    ("xids", "leases"),
    [
        ((31, 31, 31, 31), (ALICE, ALICE, ALICE, ALICE)),
        ((31, 31, 31, 31), (ALICE, AGAIN, ALICE, AGAIN)),
        ((43, 43, 43), (ALICE, BOB, ALICE)),
        ((31, 13, 31), (ALICE, BOB, ALICE)),
    ],
)
def test_what_may_still_be_the_tenants(xids: tuple[int, ...], leases: tuple[LeaseId, ...]) -> None:
    """However many leases one tenant has, it is one tenant's program."""
    card = Card()
    for xid, lease in zip(xids, leases, strict=True):
        card.agent.passes(HOUR)
        card.fails(xid, lease=lease)
    assert card.signals == set()


@pytest.mark.parametrize(
    ("xid", "signal", "repeats"),
    [
        (32, S.SUSPECT_XID, True),
        (109, S.SUSPECT_XID, True),
        (94, S.CONTAINED_ECC, True),
        (999, S.UNKNOWN_XID, True),
        (63, S.REMAP_PENDING, False),
        (62, S.RESET_NEEDED, False),
        (64, S.REMAP_FAILED, False),
        (79, S.GPU_LOST, False),
        (151, S.REBOOT_NEEDED, False),
        (144, S.NVLINK_FAULT, False),
    ],
)
def test_a_fault_raises_its_signal_and_a_second_one_of_another_day_part_ends_it(
    xid: int, signal: GpuSignal, repeats: bool
) -> None:
    card = Card()
    card.fails(xid)
    card.agent.passes(MINUTE)
    card.fails(xid)
    assert card.signals == {signal}, "within a minute it is the same trouble"
    card.agent.passes(3 * HOUR)
    card.fails(xid)
    assert card.signals == ({signal, S.XID_REPEATED} if repeats else {signal})


def test_a_second_fault_counts_within_a_day_only() -> None:
    card = Card()
    card.fails(94)
    card.agent.passes(25 * HOUR)
    card.fails(94)
    assert card.signals == {S.CONTAINED_ECC}


def test_a_second_fault_counts_over_a_reboot_and_not_over_an_acknowledgement() -> None:
    for acknowledged in (False, True):
        card = Card()
        card.fails(94)
        card.agent.passes(HOUR)
        card.agent.take(nodes_read(node(gpu(0), capacity=replace(ROOMY, boot_id="another"))))
        if acknowledged:
            card.agent.take(GpuUncordoned(gpu=card.uuid))
        card.agent.passes(HOUR)
        card.fails(94)
        assert (S.XID_REPEATED in card.signals) is not acknowledged


def test_a_double_bit_error_waits_for_the_word_that_it_was_contained() -> None:
    card, contained = Card(), Card()
    card.fails(48)
    contained.fails(48)
    contained.fails(63)
    for each in (card, contained):
        each.look()
        each.looks_for(4 * SECOND)
        assert S.UNCORRECTED_ECC not in each.signals
        each.looks_for(5 * SECOND)
    assert card.signals == {S.UNCORRECTED_ECC}
    assert contained.signals == {S.REMAP_PENDING}


def test_a_double_bit_error_of_a_former_boot_is_over() -> None:
    card = Card()
    card.fails(48)
    card.agent.take(nodes_read(node(gpu(0), capacity=replace(ROOMY, boot_id="another"))))
    card.looks_for(MINUTE)
    assert card.signals == set()


def test_what_a_new_daemon_hears_again_is_not_news() -> None:
    card = Card()
    card.fails(94)
    fault = GpuFault(
        uuid=card.uuid, xid=94, at=Instant(card.agent.at + MINUTE)
    )  # its clock was set meanwhile
    card.agent.passes(3 * HOUR)
    assert not card.agent.take(GpuFaultSeen(fault=fault, is_old=True)).notes
    assert card.signals == {S.CONTAINED_ECC}
    card.agent.take(GpuUncordoned(gpu=card.uuid))
    assert not card.agent.take(GpuFaultSeen(fault=replace(fault, xid=79), is_old=True)).notes
    assert card.signals == set(), "it was before the operator's word"


def test_what_happened_while_no_daemon_ran_counts() -> None:
    card = Card()
    fault = GpuFault(uuid=card.uuid, xid=79, at=Instant(card.agent.at - HOUR))
    card.agent.take(GpuFaultSeen(fault=fault, is_old=True))
    assert card.signals == {S.GPU_LOST}


@pytest.mark.parametrize("xid", [13, 31, 43, 45])
def test_what_our_own_stop_looks_like_is_not_told(xid: int) -> None:
    card = running()
    card.agent.ends()
    assert card.agent.lease().phase is Phase.STOPPING
    assert not card.fails(xid).notes
    settle(card.agent, StopWorkload)
    card.agent.passes(10 * SECOND)
    assert not card.fails(xid).notes
    card.agent.passes(1)
    assert card.fails(xid).notes


def test_a_real_fault_during_our_own_stop_is_told() -> None:
    card = running()
    card.agent.ends()
    card.fails(79)
    assert card.signals >= {S.GPU_LOST}


def test_a_fault_of_an_instance_is_its_leases_and_the_whole_cards() -> None:
    parent = replace(gpu(0), health=GpuHealth.DEGRADED, problem="MIG is on", is_mig_on=True)
    agent = Agent(parent, instance(1), instance(2))
    card = Card(parent, instance(1), instance(2))
    card.agent = agent
    for number in (1, 2):
        agent.opens(number, group(unit(resources(gpus=ask(1, replace(H100, ram="80Gi"))))))
        agent.awards(number)
    held = {lease.placement.gpus[0]: key for key, lease in agent.state.leases.items()}
    assert set(held) == {"MIG-1", "MIG-2"}
    assert sole(card.fails(31, instance=2).notes, GpuFaulted).lease == held[GpuUuid("MIG-2")]
    assert sole(card.fails(13).notes, GpuFaulted).lease is None, "nobody knows whose of two"
    step = card.fails(62)
    assert {lease.phase for lease in step.state.leases.values()} == {Phase.STOPPING}
    moved = [note for note in step.notes if isinstance(note, GpuSignalMoved)]
    assert sorted(moved[0].leases) == sorted(held.values())


def instance(number: int) -> Gpu:
    part = MigSlice(parent=GpuUuid("GPU-0"), profile="1g.10gb", gpu_instance=number, compute_instance=0)
    return replace(gpu(number), uuid=GpuUuid(f"MIG-{number}"), mig=part)


def test_a_fault_that_the_kernel_traced_to_a_process_is_that_leases() -> None:
    card = running(0, 1)
    fault = GpuFault(uuid=card.uuid, xid=31, at=card.agent.at, pid=4711, process="python")
    step = card.agent.take(GpuFaultSeen(fault=fault, lease=lease_of(9)))
    assert sole(step.notes, GpuFaulted).lease == lease_of(9)
    assert sole(step.notes, GpuFaulted).process == "python"
