"""A dry run's question and answer on the wire, and who may ask how often.

The market checks orders before they reach a provider; what is asked here comes from anybody of the market, so
it is held to the market's bounds first: the decision's time depends on the question's size.
"""

from __future__ import annotations

from collections.abc import Callable

from provider.adapters.gateway.settings import GatewaySettings
from provider.adapters.gateway.turnstile import Turnstile
from provider.core.admission import Accepted
from provider.core.screening import for_strangers, order_of, screen
from provider.core.state import AgentState
from provider.domain.ids import MarketId, Owner
from provider.domain.market import GroupSpec, Refused
from provider.ports import Clock
from provider.rpc.codec import group_from_pb, rate_to_pb
from provider.rpc.codec_market import gpu_offer_to_pb
from provider.rpc.fields import at_most, line, present
from provider.rpc.v1 import lease_pb2 as pb
from provider.sdl import limits

ATTRIBUTES_MOST = 64
HOSTNAMES_MOST = 256


class Screener:
    """Answers one market's questions; each that asks may do so as often as ``settings`` say."""

    def __init__(
        self, settings: GatewaySettings, state: Callable[[], AgentState], clock: Clock, market: MarketId
    ) -> None:
        self._turnstile = Turnstile(clock, each=settings.screenings_each, in_all=settings.screenings_in_all)
        self._state = state
        self._clock = clock
        self._market = market

    def answer(self, request: pb.ScreenBidRequest, guest: str, owner: str) -> pb.ScreenBidResponse:
        """To ``guest``, on an order of ``owner``. ``Denied`` or ``PeerError`` where nothing is decided."""
        self._turnstile.enter(guest)
        order = order_of(Owner(owner), group_to_screen(request), self._market)
        return screened_to_pb(screen(order, self._state(), self._clock.now()))


def group_to_screen(request: pb.ScreenBidRequest) -> GroupSpec:
    """``PeerError`` where no market would take it."""
    group = group_from_pb(request.group, present(request, "group", "screen_bid"))
    at_most(len(group.requirements.attributes), ATTRIBUTES_MOST, "group.attributes")
    at_most(len(group.units), limits.GROUPS, "group.units")
    at_most(len(group.hostnames), HOSTNAMES_MOST, "group.hostnames")
    for place, unit in enumerate(group.units):
        path, resources = f"group.units[{place}]", unit.resources
        at_most(unit.count, limits.COUNT.most, f"{path}.count")
        at_most(resources.gpu.units, limits.GPU.most, f"{path}.resources.gpu_units")
        at_most(len(resources.gpu.alternatives), limits.ALTERNATIVES, f"{path}.resources.gpu_alternatives")
        at_most(len(resources.storage), limits.VOLUMES, f"{path}.resources.storage")
    return group


def screened_to_pb(verdict: Accepted | Refused) -> pb.ScreenBidResponse:
    """Of a bid only what its tenant would see of it: no cards by name, no cost of ours."""
    if isinstance(verdict, Accepted):
        return pb.ScreenBidResponse(
            would_bid=True,
            rate=None if verdict.is_asking else rate_to_pb(verdict.bid.rate),
            gpus=map(gpu_offer_to_pb, verdict.bid.gpus),
        )
    told = for_strangers(verdict)
    return pb.ScreenBidResponse(reason=told.why, required=line(told.required), available=line(told.available))
