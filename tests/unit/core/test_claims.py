"""What orders require of the provider, against what is really here, under the keys that Akash has for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provider.core.admission import consider
from provider.core.claims import is_key
from provider.core.state import AgentState
from provider.domain.gpu import GpuInventory
from provider.domain.market import GroupSpec, Refusal, Refused, Requirements
from provider.domain.node import Node
from provider.domain.resources import GIB, Attribute
from provider.domain.workload import StorageClass
from tests import boxes
from tests.agents import CAPABLE, NODE, POLICY, ROOMY, START, group, order

CARDS = replace(
    GpuInventory(gpus=(replace(boxes.card(0, "h100"), compute_capability="9.0", architecture="hopper"),)),
    driver_version="570.86.15",
    cuda_version="12.8",
)
DISKS = replace(CAPABLE, storage_classes=(StorageClass(name="beta3", disk="nvme", capacity_bytes=100 * GIB),))
STATE = AgentState(policy=POLICY, nodes=(Node(name=NODE, capacity=ROOMY, inventory=CARDS),), runtime=DISKS)


def wants(key: str, value: str) -> GroupSpec:
    return group(requirements=Requirements(attributes=(Attribute(key=key, value=value),)))


def verdict(of: GroupSpec) -> Refused | None:
    found = consider(order(of=of), STATE, START)
    return found if isinstance(found, Refused) else None


@pytest.mark.parametrize(
    ("key", "value", "met"),
    [
        ("capabilities/gpu/vendor/nvidia/model/h100", "true", True),
        ("capabilities/gpu/vendor/nvidia/model/*", "true", True),
        ("capabilities/gpu/vendor/nvidia/model/h100/ram/80Gi", "true", True),
        ("capabilities/gpu/vendor/nvidia/model/h100/ram/80Gi/interface/sxm", "true", True),
        ("capabilities/gpu/vendor/nvidia/model/*/ram/40Gi", "true", False),
        ("capabilities/gpu/vendor/nvidia/model/h100/interface/pcie", "true", False),
        ("capabilities/gpu/vendor/nvidia/model/a100", "true", False),
        ("capabilities/gpu/vendor/amd/model/*", "true", False),
        ("capabilities/gpu/vendor/nvidia/model/h100", "yes", False),
        ("capabilities/gpu/driver", "570.86.15", True),
        ("capabilities/gpu/driver", ">=550", True),
        ("capabilities/gpu/driver", ">=570.100", False),
        ("capabilities/gpu/cuda", ">=12.4", True),
        ("capabilities/gpu/cuda", ">=13.0", False),
        ("capabilities/gpu/cuda", ">=latest", False),
        ("capabilities/gpu/compute-capability", "9.0", True),
        ("capabilities/gpu/compute-capability", ">=8.9", True),
        ("capabilities/gpu/compute-capability", ">=10.0", False),
        ("capabilities/gpu/architecture", "hopper", True),
        ("capabilities/gpu/architecture", "ada", False),
        ("capabilities/storage/1/class", "beta3", True),
        ("capabilities/storage/7/class", "beta3", True),
        ("capabilities/storage/*/class", "beta2", False),
        ("capabilities/storage/1/persistent", "true", True),
        ("feat-persistent-storage", "true", True),
        ("feat-endpoint-ip", "true", False),
    ],
)
def test_facts(key: str, value: str, met: bool) -> None:
    refused = verdict(wants(key, value))
    assert (refused.why if refused else None) is (None if met else Refusal.ATTRIBUTES_NOT_MET)


def test_a_refusal_shows_the_facts_that_are_near() -> None:
    refused = verdict(wants("capabilities/gpu/cuda", ">=13.0"))
    assert refused is not None
    assert "capabilities/gpu/cuda=12.8" in refused.available


@pytest.mark.parametrize(
    ("pattern", "key", "fits"),
    [
        ("region", "region", True),
        ("reg*", "region", True),
        ("a/*", "a/b", True),
        ("a/*", "a/b/c", False),
        ("*", "a/b", False),
        ("a/?", "a/b", True),
        ("a/[bc]/d", "a/c/d", True),
        ("Region", "region", False),
    ],
)
def test_keys_are_matched_part_by_part(pattern: str, key: str, fits: bool) -> None:
    assert is_key(pattern, key) is fits
