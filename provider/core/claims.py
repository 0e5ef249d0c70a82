"""What a placement requires of the provider itself, against what it says of itself and what is so.

Two sources: the operator's own attributes, and facts: models, driver, CUDA, compute capability, architecture
and storage classes of what is really here, under Akash's ``capabilities/`` keys. Keys that an order requires
are patterns as Go's ``filepath.Match`` reads them (``*`` stays within its part between slashes), values are
equal (``go/node/types/attributes`` of akash-network/chain-sdk); ``>=12.4`` on a version is ours. Invariant:
what only an auditor may vouch for is never taken from here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from provider.core.cards import matches
from provider.core.state import AgentState
from provider.domain.gpu import Gpu
from provider.domain.resources import Attribute, GpuAlternative

GPU_KIND = re.compile(
    r"capabilities/gpu/vendor/(?P<vendor>[^/]+)/model/(?P<model>[^/]+)"
    r"(?:/ram/(?P<ram>[^/]+))?(?:/interface/(?P<interface>[^/]+))?"
)
STORAGE = re.compile(r"capabilities/storage/[^/]+/(?P<part>class|persistent)")
"""The number between them is anybody's: classes are offered in no order."""
VERSIONS = frozenset(
    {"capabilities/gpu/driver", "capabilities/gpu/cuda", "capabilities/gpu/compute-capability"}
)
"""Of these an order may require ``>=`` something."""


def is_met(wanted: Attribute, state: AgentState) -> bool:
    """Whether this provider claims ``wanted``, or it is a fact."""
    return is_among(wanted, state.policy.attributes) or _is_fact(wanted, state)


def is_among(wanted: Attribute, claimed: Iterable[Attribute]) -> bool:
    """Whether an attribute of ``claimed`` has a key that fits and the same value."""
    return any(wanted.value == ours.value and is_key(wanted.key, ours.key) for ours in claimed)


def is_key(pattern: str, key: str) -> bool:
    """Whether ``key`` fits ``pattern``, part by part between slashes."""
    if pattern == key:
        return True
    if not any(sign in pattern for sign in "*?["):
        return False
    wanted, parts = pattern.split("/"), key.split("/")
    return len(wanted) == len(parts) and all(map(fnmatchcase, parts, wanted))


def facts(state: AgentState) -> Iterator[Attribute]:
    """What is so, apart from the kinds of cards, which have too many names to list them."""
    gpus = [gpu for node in state.nodes for gpu in node.gpus]
    said = {("compute-capability", gpu.compute_capability) for gpu in gpus}
    said |= {("architecture", gpu.architecture) for gpu in gpus}
    if gpus:
        said |= {("driver", node.inventory.driver_version) for node in state.nodes}
        said |= {("cuda", node.inventory.cuda_version) for node in state.nodes}
        said |= {("simulated", "true") for gpu in gpus if gpu.simulated}
    for name, value in sorted((name, value) for name, value in said if value is not None):
        yield Attribute(key=f"capabilities/gpu/{name}", value=value)
    classes = state.runtime.storage_classes if state.runtime else ()
    for number, each in enumerate(classes, start=1):
        yield Attribute(key=f"capabilities/storage/{number}/class", value=each.name)
        yield Attribute(key=f"capabilities/storage/{number}/persistent", value="true")
    if classes:
        yield Attribute(key="feat-persistent-storage", value="true")


def _is_fact(wanted: Attribute, state: AgentState) -> bool:
    kind = GPU_KIND.fullmatch(wanted.key)
    if kind is not None:
        alternative = GpuAlternative(
            vendor=kind["vendor"],
            model=None if kind["model"] == "*" else kind["model"],
            ram=None if kind["ram"] == "*" else kind["ram"],
            interface=None if kind["interface"] == "*" else kind["interface"],
        )
        return wanted.value == "true" and any(matches(gpu, alternative) for gpu in _gpus(state))
    if wanted.key in VERSIONS and wanted.value.startswith(">="):
        least = _version(wanted.value[2:])
        return bool(least) and any(
            _version(fact.value) >= least for fact in facts(state) if fact.key == wanted.key
        )
    part = STORAGE.fullmatch(wanted.key)
    if part is not None:
        wanted = Attribute(key=f"capabilities/storage/*/{part['part']}", value=wanted.value)
    return is_among(wanted, facts(state))


def _gpus(state: AgentState) -> Iterator[Gpu]:
    return (gpu for node in state.nodes for gpu in node.gpus)


def _version(text: str) -> tuple[int, ...]:
    """``12.8`` as numbers; nothing for what is no version."""
    parts = text.strip().split(".")
    return tuple(map(int, parts)) if all(part.isascii() and part.isdigit() for part in parts) else ()
