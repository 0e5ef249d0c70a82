"""What fits where: cards by kind, capacity to the last unit, ports, and the reason where it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provider.core.cards import matches
from provider.core.needs import need
from provider.core.placement import place
from provider.core.space import free
from provider.core.state import AgentState
from provider.domain.gpu import GpuHealth
from provider.domain.ids import NodeName
from provider.domain.market import GroupSpec, Placement, Refusal, Refused
from provider.domain.node import HostCapacity, Node
from provider.domain.resources import (
    GIB,
    MIB,
    Attribute,
    Endpoint,
    EndpointKind,
    GpuAlternative,
    GpuAsk,
    Volume,
)
from tests.agents import (
    POLICY,
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

NO_GPU = GpuAsk()
A100 = GpuAlternative(vendor="nvidia", model="a100")
ANY = GpuAlternative(vendor="nvidia")
RAM = Volume(name="shm", size_bytes=2 * GIB, attributes=(Attribute(key="class", value="ram"),))

REPORTED_MIB = {
    "8Gi": (8192, 7680, 8188),
    "10Gi": (10240,),
    "12Gi": (12288, 12282),
    "16Gi": (16384, 15360, 15109, 15079, 16376, 16151),
    "24Gi": (24576, 23028, 24564, 22731, 23034),
    "32Gi": (32768, 32607, 32510),
    "40Gi": (40960, 40536),
    "48Gi": (49140, 46068, 45634),
    "80Gi": (81559, 81251, 81920, 81920 - 400),
    "96Gi": (97871, 97887),
    "141Gi": (143771,),
}
"""What cards of each size on the box report, in MiB: nvidia-smi's ``memory.total`` of T4, A10, A10G, L4, A40,
L40S, RTX 30 to 50, A100, H100, H200, with ECC and without, under older drivers and newer."""


@pytest.mark.parametrize(
    ("ram", "reported"), [(ram, mib) for ram, sizes in REPORTED_MIB.items() for mib in sizes]
)
def test_a_card_is_of_the_size_on_its_box(ram: str, reported: int) -> None:
    card = gpu(0, memory=reported * MIB)
    named = [size for size in REPORTED_MIB if matches(card, replace(ANY, ram=size))]
    assert named == [ram]


def test_a_b200_is_of_180_gigabytes() -> None:
    card = gpu(0, memory=183359 * MIB)
    assert matches(card, replace(ANY, ram="180Gi"))
    assert not matches(card, replace(ANY, ram="141Gi"))


@pytest.mark.parametrize(
    ("alternative", "fits"),
    [
        (ANY, True),
        (GpuAlternative(vendor="nvidia", model="h100"), True),
        (GpuAlternative(vendor="nvidia", model="h100", ram="80Gi", interface="sxm"), True),
        (GpuAlternative(vendor="nvidia", model="h100", interface="pcie"), False),
        (GpuAlternative(vendor="nvidia", model="h100", ram="40Gi"), False),
        (GpuAlternative(vendor="nvidia", model="h100", ram="80"), True),
        (GpuAlternative(vendor="nvidia", model="h100", ram="lots"), False),
        (GpuAlternative(vendor="nvidia", model="a100"), False),
        (GpuAlternative(vendor="amd", model="h100"), False),
        (GpuAlternative(vendor="amd"), False),
    ],
)
def test_kinds(alternative: GpuAlternative, fits: bool) -> None:
    assert matches(gpu(0), alternative) is fits


def test_a_card_that_does_not_tell_its_memory_is_of_no_size() -> None:
    assert not matches(gpu(0, memory=None), replace(ANY, ram="80Gi"))
    assert matches(gpu(0, memory=None), ANY)


def test_needs_are_sums_and_ram_volumes_are_memory() -> None:
    web = replace(
        resources(gpus=NO_GPU),
        storage=(Volume(name="default", size_bytes=GIB), RAM),
        endpoints=(Endpoint(kind=EndpointKind.RANDOM_PORT), Endpoint(kind=EndpointKind.LEASED_IP)),
    )
    needed = need(group(unit(web, count=3), unit(resources(2, gpus=NO_GPU))))
    assert (needed.cpu_millis, needed.memory_bytes, needed.storage_bytes, needed.ports) == (
        2000,
        3 * 3 * GIB + GIB,
        4 * GIB,
        2,
    )


def placed(state: AgentState, of: GroupSpec) -> tuple[tuple[str, ...], ...] | Refusal:
    found = place(state, of)
    return found.why if isinstance(found, Refused) else tuple(each.gpus for each in found.replicas)


def state_of(*nodes: Node) -> AgentState:
    return AgentState(policy=POLICY, nodes=nodes)


@pytest.mark.parametrize(
    ("cards", "of", "expected"),
    [
        (healthy(0, 1), group(unit(resources(gpus=ask(2)))), (("GPU-0", "GPU-1"),)),
        (healthy(0, 1), group(unit(count=2)), (("GPU-0",), ("GPU-1",))),
        (healthy(0), group(unit(resources(gpus=NO_GPU))), ((),)),
        # the unit that has less choice chooses first
        (
            (gpu(0), gpu(1, "a100")),
            group(unit(resources(1, gpus=ask(1, ANY))), unit(resources(2, gpus=ask()))),
            (("GPU-1",), ("GPU-0",)),
        ),
        ((gpu(0), gpu(1, "a100")), group(unit(resources(gpus=ask(2, A100, ANY)))), (("GPU-0", "GPU-1"),)),
        (healthy(0), group(unit(resources(gpus=ask(2)))), Refusal.GPU_UNKNOWN),
        (healthy(0), group(unit(count=2)), Refusal.GPU_BUSY),
        (healthy(0), group(unit(resources(gpus=ask(1, A100)))), Refusal.GPU_UNKNOWN),
        ((gpu(0, health=GpuHealth.DEGRADED),), group(), Refusal.GPU_UNHEALTHY),
        ((gpu(0, health=GpuHealth.UNKNOWN),), group(), Refusal.GPU_UNHEALTHY),
        ((gpu(0, health=GpuHealth.UNHEALTHY), gpu(1)), group(), (("GPU-1",),)),
        ((), group(), Refusal.GPU_UNKNOWN),
    ],
)
def test_cards(cards: tuple, of: GroupSpec, expected: object) -> None:  # type: ignore[type-arg]
    assert placed(state_of(node(*cards)), of) == expected


@pytest.mark.parametrize(
    ("short", "why"),
    [
        (replace(ROOMY, cpu_millis=499), Refusal.CPU_SHORT),
        (replace(ROOMY, memory_bytes=GIB - 1), Refusal.MEMORY_SHORT),
        (replace(ROOMY, storage_bytes=GIB - 1), Refusal.STORAGE_SHORT),
        (replace(ROOMY, cpu_millis=500, memory_bytes=GIB, storage_bytes=GIB), None),
    ],
)
def test_capacity_to_the_last_unit(short: HostCapacity, why: Refusal | None) -> None:
    small = node(*healthy(0), capacity=short)
    found = place(state_of(small), group())
    assert (found.why if isinstance(found, Refused) else None) is why


def test_a_shortage_says_what_is_left_and_never_less_than_nothing() -> None:
    agent = Agent(*healthy(0, 1))
    agent.opens()
    shrunk = node(*healthy(0, 1), capacity=replace(ROOMY, cpu_millis=100))
    found = place(replace(agent.state, nodes=(shrunk,)), group())
    assert found == Refused(why=Refusal.CPU_SHORT, required="500m", available="0m")


def test_ports_are_the_lowest_that_nobody_holds() -> None:
    agent = Agent(*healthy(*range(12)))
    for number in range(1, 12):
        agent.opens(number)
    held = [bid.placement.host_ports for bid in agent.state.bids.values()]
    assert held == [(port,) for port in range(31000, 31010)]
    (waiting,) = agent.state.orders.values()
    assert waiting.refused.why is Refusal.PORTS_SHORT
    agent.closes(4)
    assert agent.state.bids[lease_of(11)].placement.host_ports == (31003,)


def test_a_second_node_is_taken_where_the_first_is_full_and_its_ports_are_its_own() -> None:
    first, second = node(gpu(0)), node(gpu(1), name=NodeName("node-2"))
    state = state_of(first, second)
    one = place(state, group())
    assert isinstance(one, Placement)
    assert (one.node, one.gpus, one.host_ports) == ("node-1", ("GPU-0",), (31000,))
    agent = Agent(*healthy(0))
    agent.opens()
    two = place(replace(agent.state, nodes=(first, second)), group())
    assert isinstance(two, Placement)
    assert (two.node, two.gpus, two.host_ports) == ("node-2", ("GPU-1",), (31000,))


def test_without_a_node_there_is_no_room() -> None:
    assert placed(state_of(), group()) is Refusal.CPU_SHORT


def test_free_counts_bids_and_leases_and_only_healthy_cards() -> None:
    agent = Agent(*healthy(0, 1))
    agent.run(1)
    agent.opens(2)
    left = free(agent.state, node(*healthy(0, 1), gpu(2), gpu(3, health=GpuHealth.UNHEALTHY)))
    assert (left.cpu_millis, left.memory_bytes // GIB, left.storage_bytes // GIB) == (15_000, 62, 510)
    assert [each.uuid for each in left.gpus] == ["GPU-2"]
    assert left.ports == 8


def test_a_port_on_which_somebody_listens_is_not_sold() -> None:
    agent = Agent(*healthy(*range(3)))
    busy = frozenset(range(31000, 31009))
    agent.take(nodes_read(replace(node(*healthy(*range(3))), busy_ports=busy)))
    agent.opens(1)
    assert agent.state.bids[lease_of(1)].placement.host_ports == (31009,)
    step = agent.opens(2)
    assert step.effects == ()
    assert agent.state.orders[order(2).id].refused.why is Refusal.PORTS_SHORT
    agent.take(nodes_read(node(*healthy(*range(3)))))
    assert agent.state.bids[lease_of(2)].placement.host_ports == (31000,), "free again"
