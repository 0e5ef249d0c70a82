"""The operator's choices, as the decisions need them. Made from the configuration in ``app``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from provider.domain.ids import ProviderId
from provider.domain.moment import MINUTE, SECOND, Span
from provider.domain.money import Denom
from provider.domain.resources import Attribute


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceScale:
    """What a unit costs in micro-denom an hour, whatever the denom: exact decimals.

    Per-GPU prices are looked up by model, then ``*``; an order for a GPU that has neither is not bid on.
    """

    cpu_core_hour: Decimal = Decimal(0)
    memory_gib_hour: Decimal = Decimal(0)
    storage_gib_hour: Decimal = Decimal(0)
    endpoint_hour: Decimal = Decimal(0)
    gpu_hour: Mapping[str, Decimal] = field(default_factory=dict)
    minimum_hour: Decimal = Decimal(0)
    """No bid is below this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressPolicy:
    """Under which names HTTP ports are served."""

    domain: str
    """Leases get names under it."""
    blocked: tuple[str, ...] = ()
    """Names that no tenant gets; ``.example.com`` is the whole domain."""
    scheme: str = "http"
    port: int | None = None
    """As the world sees it; None for the scheme's own."""

    def uri(self, hostname: str) -> str:
        return f"{self.scheme}://{hostname}" + (f":{self.port}" if self.port else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What to bid on, at what price, and how patiently."""

    provider: ProviderId
    price: PriceScale = PriceScale()
    denoms: frozenset[Denom] = frozenset({Denom.UACT})
    attributes: tuple[Attribute, ...] = ()
    """What this provider claims of itself."""
    port_range: tuple[int, int] = (31000, 31999)
    """Host ports for tenants, both ends included."""
    bid_lifetime: Span = Span(5 * MINUTE)
    manifest_patience: Span = Span(5 * MINUTE)
    """From the award to the manifest."""
    usage_interval: Span = Span(10 * SECOND)
    """Between two usage reports of a running lease."""
    retry_first: Span = Span(10 * SECOND)
    retry_most: Span = Span(5 * MINUTE)
    """The first repair is at once, the second waits ``retry_first``, then twice as long each time, at most
    this: as Kubernetes does it."""
    deaths_most: int = 8
    """So many deaths in a row end a lease."""
    update_probation: Span = Span(60 * SECOND)
    """What was updated and dies sooner is taken back to what ran before."""
    stable_after: Span = Span(10 * MINUTE)
    """A run this long forgives earlier deaths."""
    stop_grace_s: int = 10
    ingress: IngressPolicy | None = None
    """None where HTTP ports are published like any other."""
