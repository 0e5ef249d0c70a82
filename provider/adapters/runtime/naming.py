"""How what belongs to a lease is named and labelled on the engine, and found again.

Invariant: every name is derived from the lease alone, so that making something twice makes it once;
every label is under ``gp.`` and set by us, so that an image's own labels never pass for ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from provider.domain.ids import LeaseId, ProviderId

PROVIDER = "gp.provider"
LEASE = "gp.lease"
SERVICE = "gp.service"
REPLICA = "gp.replica"
GENERATION = "gp.generation"
SPEC = "gp.spec"
GPUS = "gp.gpus"
PORTS = "gp.ports"
"""That it exposes, ``80/tcp,53/udp``."""
SIMULATED = "gp.simulated-gpus"
LAYER_BYTES = "gp.layer-bytes"
"""What a container may write beside its volumes."""
FILLS = "gp.fills"
"""On a container that only fills volumes: of which lease."""
PROOF = "gp.proof"
"""On what was made only to try the engine out."""


def lease_labels(provider: ProviderId, lease: LeaseId) -> dict[str, str]:
    """On everything of a lease: containers, network, volumes."""
    return {PROVIDER: provider, LEASE: str(lease)}


def container_name(lease: LeaseId, service: str, replica: int) -> str:
    return f"gp-{lease.key}-{service}-{replica}"


def network_name(lease: LeaseId) -> str:
    return f"gp-{lease.key}"


def bridges(lease: LeaseId) -> tuple[str, ...]:
    """What its bridge may be called: 15 characters, as many as the kernel lets an interface have.

    The first, but where an engine that was killed while it made the network keeps that: then it lists no
    such network, says no word of it, and makes none with that bridge ever again.
    """
    return tuple(f"gp{mark}{lease.key}" for mark in "-123456789")


def volume_name(lease: LeaseId, service: str, replica: int, what: str) -> str:
    """``what`` is a volume's name or a path in the container: hashed, since engines restrict names."""
    return f"gp-{lease.key}-{service}-{replica}-{hashlib.sha256(what.encode()).hexdigest()[:8]}"


def lease_of(labels: Mapping[str, str] | None) -> LeaseId | None:
    """The lease that something is labelled with; None when it is not one of ours."""
    try:
        return LeaseId.parse((labels or {}).get(LEASE, ""), may_be_idle=True)
    except ValueError:
        return None


def number(labels: Mapping[str, str], label: str) -> int:
    """A label that is a number, 0 when it is missing or garbled."""
    text = labels.get(label, "")
    return int(text) if text.isascii() and text.isdigit() else 0
