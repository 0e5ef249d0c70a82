"""What a group would cost by a configuration, without a daemon: cards, prices and floor are those of a bid.

Owns the machine as it is looked at for that: its real or simulated cards, all of them free, and no
shortage of anything else. Does not own what is shown of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from provider.adapters.clock import SystemClock
from provider.adapters.gpu.probe import NvmlProbe
from provider.adapters.host import HostReserve, LinuxHost, node_name
from provider.adapters.power_file import PowerFile
from provider.app.config import ProviderConfig
from provider.app.gpu_findings import nvml_settings
from provider.app.policy import policy
from provider.app.pricers import pricer_of
from provider.core import pricing, quoting
from provider.core.placement import Pick, picks
from provider.core.policy import Policy
from provider.core.state import AgentState
from provider.core.wattage import with_watts
from provider.domain.errors import ProviderError
from provider.domain.ids import OrderId, Owner, ProviderId
from provider.domain.market import GroupSpec, Order, Refusal, Refused
from provider.domain.moment import Instant
from provider.domain.money import Denom, Rate
from provider.domain.node import Node
from provider.domain.price import PricePart, PriceQuestion, Quote
from provider.domain.workload import GpuAttachment, RuntimeCapabilities
from provider.ports import GpuProbe
from provider.sim.gpu import SimulatedProbe

NOBODY = ProviderId("this-machine")
SOMEBODY = OrderId(owner=Owner("somebody"), dseq=1, gseq=1, oseq=1)
"""Whose order it is, as far as a price script is told."""
ENDLESS = 2**60
ANY_PRICE = Decimal(10) ** 15
"""A highest price that hides nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """A group and its price. ``quote`` is None where there is none at all; ``refused`` says why no bid."""

    group: GroupSpec
    pick: Pick | None
    quote: Quote | None
    refused: Refused | None
    rates: tuple[Rate, ...]
    """The same price in every currency that is taken."""

    @property
    def hour(self) -> Decimal:
        """Micro-units of the operator's currency."""
        return pricing.total(self.quote.parts) if self.quote else Decimal(0)


async def machine(config: ProviderConfig) -> Node:
    """With its cards, all free, and what a daemon measured of them; simulated ones where the configuration
    says so."""
    clock = SystemClock()
    probe: GpuProbe
    if config.gpu.simulate:
        probe = SimulatedProbe(config.gpu.simulate, clock, seed=node_name())
    else:
        probe = NvmlProbe(nvml_settings(config), clock)
    async with probe:
        inventory = await probe.discover()
    reserve = HostReserve(cpu_millis=config.reserve.cpu_millis, memory_bytes=0, storage_bytes=0)
    capacity = LinuxHost(Path("/"), reserve=reserve).capacity()
    watts = {uuid: mean.told for uuid, mean in PowerFile(config.state_dir).load().items() if mean.told}
    return Node(name=node_name(), capacity=capacity, inventory=with_watts(inventory, watts))


async def price(config: ProviderConfig, node: Node, group: GroupSpec, at: Instant) -> Priced:
    """By the strategy of ``config``, asking whom it says. ``ConfigError`` where that cannot be."""
    rules = policy(config, NOBODY)
    pick = _pick(rules, node, group)
    if isinstance(pick, Refused):
        return Priced(group=group, pick=None, quote=None, refused=pick, rates=())
    sale = quoting.Sale(group=group, gpus=pick.gpus, node=node, at=at)
    generous = quoting.Sale(group=_at_any_price(group), gpus=pick.gpus, node=node, at=at)
    if rules.strategy.is_asked:
        found = await _asked(config, rules, pick, generous)
        if isinstance(found, Quote) and found.rate.amount > group.max_rate.amount:
            refused: Refused | None = _too_low(found.rate, group.max_rate)
        else:
            refused = found if isinstance(found, Refused) else None
    else:
        bid = quoting.quote(sale, rules)
        found = quoting.quote(generous, rules) if isinstance(bid, Refused) else bid
        refused = bid if isinstance(bid, Refused) else None
    if isinstance(found, Refused):
        return Priced(group=group, pick=pick, quote=None, refused=found, rates=())
    hour = pricing.total(found.parts)
    rates = tuple(pricing.rate(hour, rules.worth_of(denom), denom) for denom in _denoms(rules, group))
    return Priced(group=group, pick=pick, quote=found, refused=refused, rates=rates)


def _pick(rules: Policy, node: Node, group: GroupSpec) -> Pick | Refused:
    roomy = replace(node.capacity, cpu_millis=ENDLESS, memory_bytes=ENDLESS, storage_bytes=ENDLESS)
    offline = RuntimeCapabilities(engine="none", gpu_attachment=GpuAttachment.CDI)
    state = AgentState(policy=rules, nodes=(replace(node, capacity=roomy),), runtime=offline)
    return next(iter(picks(state, group)))


async def _asked(config: ProviderConfig, rules: Policy, pick: Pick, sale: quoting.Sale) -> Quote | Refused:
    costs = quoting.costs(sale, rules)
    if isinstance(costs, Refused):
        return costs
    highest = sale.group.max_rate
    worth = rules.worth_of(highest.denom)
    question = PriceQuestion(
        order=Order(id=SOMEBODY, group=sale.group, manifest_hash=""),
        placement=pick.placement,
        gpus=pick.gpus,
        worth=worth,
        least_hour=max(pricing.total(costs), rules.price.minimum_hour),
        most_hour=pricing.highest_hour(highest, worth),
        costs=costs,
    )
    try:
        answer = await (await pricer_of(config.pricing)).price(question)
    except ProviderError as failure:
        return Refused(why=Refusal.PRICE_NOT_GIVEN, required="a price", available=failure.what)
    told = PricePart(
        what=f"asked by the {rules.strategy}",
        amount=Decimal(1),
        cost=pricing.highest_hour(answer, worth),
    )
    return quoting.settle(sale.group.max_rate, rules, (told,), costs)


def _too_low(rate: Rate, highest: Rate) -> Refused:
    return Refused(why=Refusal.PRICE_TOO_LOW, required=str(rate), available=str(highest))


def _at_any_price(group: GroupSpec) -> GroupSpec:
    first, *others = group.units
    return replace(group, units=(replace(first, price=replace(first.price, amount=ANY_PRICE)), *others))


def _denoms(rules: Policy, group: GroupSpec) -> list[Denom]:
    """The order's own first."""
    own = group.max_rate.denom
    return [own, *sorted(rules.denoms - {own})]
