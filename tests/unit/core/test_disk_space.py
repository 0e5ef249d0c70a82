"""Storage by class and by disk: what is offered, and that no byte is promised twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provider.core.admission import Accepted, consider
from provider.core.placement import place
from provider.core.space import free
from provider.core.state import AgentState
from provider.domain.market import GroupSpec, Placement, Refusal, Refused
from provider.domain.resources import GIB, Attribute, GpuAsk, Volume
from provider.domain.workload import RuntimeCapabilities, StorageClass
from tests.agents import CAPABLE, POLICY, ROOMY, START, Agent, group, healthy, node, order, resources, unit

LAYERS = "8:1"
NVME = "259:0"


def persistent(size_bytes: int, storage_class: str = "beta3") -> Volume:
    attributes = (Attribute(key="class", value=storage_class), Attribute(key="persistent", value="true"))
    return Volume(name="data", size_bytes=size_bytes, attributes=attributes)


def asking(*volumes: Volume, count: int = 1) -> GroupSpec:
    layer = Volume(name="default", size_bytes=GIB)
    return group(unit(replace(resources(gpus=GpuAsk()), storage=(layer, *volumes)), count=count))


def capable(**disks: str) -> RuntimeCapabilities:
    """Classes by disk; each disk has 100 GiB."""
    classes = (StorageClass(name=name, disk=disk, capacity_bytes=100 * GIB) for name, disk in disks.items())
    return replace(CAPABLE, storage_classes=tuple(classes), layers_disk=LAYERS)


def state_of(runtime: RuntimeCapabilities, layers_bytes: int = 50 * GIB) -> AgentState:
    capacity = replace(ROOMY, storage_bytes=layers_bytes)
    return AgentState(policy=POLICY, nodes=(node(*healthy(0), capacity=capacity),), runtime=runtime)


ONE_DISK = capable(beta2=LAYERS, default=LAYERS)
TWO_DISKS = capable(beta3=NVME, default=NVME)


@pytest.mark.parametrize(
    ("runtime", "of", "available"),
    [
        (TWO_DISKS, asking(persistent(99 * GIB)), None),
        (TWO_DISKS, asking(persistent(101 * GIB)), 100),
        (
            TWO_DISKS,
            asking(persistent(60 * GIB), persistent(41 * GIB, "default")),
            100,
        ),  # both are one disk's
        (TWO_DISKS, asking(persistent(51 * GIB), count=2), 100),
        (TWO_DISKS, asking(Volume(name="scratch", size_bytes=49 * GIB)), None),
        (TWO_DISKS, asking(Volume(name="scratch", size_bytes=50 * GIB)), 50),  # not persistent: a layer's
        (ONE_DISK, asking(persistent(49 * GIB, "beta2")), None),
        (ONE_DISK, asking(persistent(50 * GIB, "beta2")), 50),  # beside the layer there is no room
    ],
)
def test_each_disk_has_its_own_room(
    runtime: RuntimeCapabilities, of: GroupSpec, available: int | None
) -> None:
    found = place(state_of(runtime), of)

    if available is None:
        assert isinstance(found, Placement)
    else:
        assert isinstance(found, Refused)
        assert (found.why, found.available) == (Refusal.STORAGE_SHORT, f"{available * GIB} bytes")


def test_what_is_held_is_taken_off_its_own_disk() -> None:
    agent = Agent(*healthy(0))
    agent.opens()
    (bid,) = agent.state.bids.values()
    held = replace(bid, order=replace(bid.order, group=asking(persistent(70 * GIB))))
    state = replace(state_of(TWO_DISKS), bids={bid.bid.id: held})

    left = free(state, state.nodes[0])

    assert left.disks == {NVME: 30 * GIB, LAYERS: 49 * GIB}
    assert left.storage_bytes == 49 * GIB


def test_a_class_that_is_offered_no_more_still_holds_its_bytes() -> None:
    agent = Agent(*healthy(0))
    agent.opens()
    (bid,) = agent.state.bids.values()
    held = replace(bid, order=replace(bid.order, group=asking(persistent(20 * GIB, "beta1"))))
    state = replace(state_of(TWO_DISKS), bids={bid.bid.id: held})

    assert free(state, state.nodes[0]).disks == {NVME: 100 * GIB, LAYERS: 29 * GIB}


@pytest.mark.parametrize(
    ("runtime", "wanted", "available"),
    [
        (TWO_DISKS, "beta3", None),
        (TWO_DISKS, "default", None),
        (TWO_DISKS, "beta1", "beta3, default"),
        (CAPABLE, "beta3", "none"),
        (
            replace(CAPABLE, storage_problem="mkfs.ext4 is not installed"),
            "beta3",
            "mkfs.ext4 is not installed",
        ),
    ],
)
def test_a_class_is_a_promise(runtime: RuntimeCapabilities, wanted: str, available: str | None) -> None:
    asked = replace(order(), group=asking(persistent(GIB, wanted)))

    found = consider(asked, state_of(runtime), START)

    if available is None:
        assert isinstance(found, Accepted)
    else:
        assert found == Refused(
            why=Refusal.STORAGE_CLASS_UNKNOWN,
            required=f"persistent storage of class {wanted}",
            available=available,
        )
