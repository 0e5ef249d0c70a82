"""The operator's choices, as the decisions need them. Made from the configuration in ``app``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from decimal import Decimal
from enum import StrEnum

from provider.core.bid_policy import BidPolicy
from provider.domain.idle import IdleJob
from provider.domain.ids import MarketId, ProviderId
from provider.domain.moment import MINUTE, SECOND, Span
from provider.domain.money import Denom
from provider.domain.resources import Attribute


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceScale:
    """What a unit costs in micro-units an hour of the operator's currency: exact decimals.

    An order for a GPU that no key of ``gpu_hour`` fits (``gpu_keys``) is not bid on.
    """

    cpu_core_hour: Decimal = Decimal(0)
    memory_gib_hour: Decimal = Decimal(0)
    storage_gib_hour: Decimal = Decimal(0)
    storage_class_gib_hour: Mapping[str, Decimal] = field(default_factory=dict)
    """By class (``ephemeral`` is what is not persistent); others cost ``storage_gib_hour``."""
    endpoint_hour: Decimal = Decimal(0)
    ip_hour: Decimal = Decimal(0)
    gpu_hour: Mapping[str, Decimal] = field(default_factory=dict)
    minimum_hour: Decimal = Decimal(0)
    """No bid is below this."""


class PriceStrategy(StrEnum):
    """How a price is made; ``floor`` and ``minimum_hour`` hold for all of them."""

    SCALE = "scale"
    """By the price list."""
    MARKET = "market"
    """By what is likely to win: learned, between floor and the order's highest price."""
    SCRIPT = "script"
    """By a program of the operator's, asked as Akash asks."""
    PYTHON = "python"
    """By a function of the operator's."""

    @property
    def is_asked(self) -> bool:
        """Made outside: a decision waits for it."""
        return self in (PriceStrategy.SCRIPT, PriceStrategy.PYTHON)


class Watts(StrEnum):
    """What a card is taken to draw."""

    NAMEPLATE = "nameplate"
    """The operator's word, else its power limit."""
    MEASURED = "measured"
    """What it drew under load here; its nameplate until that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceFloor:
    """What running something costs the operator, micro-units."""

    kwh_dearest: tuple[Decimal, ...]
    """Of a kilowatt-hour, for each hour of the week from Monday's first: ``floor.dearest_means``."""
    zone: tzinfo = UTC
    """In which those hours are."""
    gpu_watts: Mapping[str, Decimal] = field(default_factory=dict)
    """By card (``gpu_keys``); others draw their power limit."""
    watts: Watts = Watts.NAMEPLATE
    host_watts: Decimal = Decimal(0)
    """Of the machine without its cards; a lease pays its share."""
    wear_gpu_hour: Mapping[str, Decimal] = field(default_factory=dict)
    """By card (``gpu_keys``)."""


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
    """Its name in the market that it joined first, and on this machine."""
    names: Mapping[MarketId, ProviderId] = field(default_factory=dict)
    """What it is called in the others."""
    price: PriceScale = PriceScale()
    strategy: PriceStrategy = PriceStrategy.SCALE
    floor: PriceFloor | None = None
    worth: Mapping[Denom, Decimal] = field(default_factory=dict)
    """What one of a currency is in the one that prices are written in; 1 where it is not told."""
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
    checks_gpus: bool = False
    """After a lease its GPUs are sold again only once a look found them clean."""
    bids: BidPolicy = field(default_factory=BidPolicy)
    ingress: IngressPolicy | None = None
    """None where HTTP ports are published like any other."""
    idle: IdleJob | None = None
    """What runs on cards that nobody rents; None for nothing."""

    def name_in(self, market: MarketId) -> ProviderId:
        """What this provider is called in ``market``."""
        return self.names.get(market, self.provider)

    def worth_of(self, denom: Denom) -> Decimal:
        return self.worth.get(denom, Decimal(1))
