"""The parts that there are once for each market: identity, link, and a door for its tenants.

A market's tenants know a provider by a certificate of that market's authority, and are known by one. So each
market has a door of its own (a socket file for tunnels, mostly a port too), with its own keys behind it: who
comes in by one can show nothing, and name nothing, of another. ``wiring`` adds what there is once.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from provider import __version__
from provider.adapters.gateway.doorman import Doorman
from provider.adapters.gateway.lease_service import LeaseGateway, LeaseWorld
from provider.adapters.gateway.operator_service import OperatedMarket
from provider.adapters.gateway.screening import Screener
from provider.adapters.gateway.servers import LeaseServer
from provider.adapters.gateway.settings import GatewaySettings
from provider.adapters.link.link import GrpcLink
from provider.adapters.link.settings import LinkSettings
from provider.adapters.telemetry.view import LinkFacts
from provider.app import addresses
from provider.app.config import ProviderConfig
from provider.app.engine_settings import advertised, advertised_in, public_host
from provider.app.memberships import Membership, Memberships
from provider.core.state import AgentState
from provider.domain.errors import ConfigError
from provider.domain.ids import HOME
from provider.ports import Clock
from provider.rpc.identity import LiveIdentity
from provider.rpc.member import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """One market as the daemon speaks to it."""

    membership: Membership
    identity: LiveIdentity
    link: GrpcLink
    lease_address: str
    """host:port at which its tenants reach us; empty where they come through the coordinator."""

    @property
    def facts(self) -> LinkFacts:
        """As a scrape is told it."""
        market = self.membership.market
        return LinkFacts(market=market, state=self.link.stage, last_message=self.link.last_message)

    @property
    def seen(self) -> OperatedMarket:
        """As the operator is shown it."""
        return OperatedMarket(
            id=self.membership.id,
            identity=self.identity,
            lease_address=self.lease_address,
            certificate_problem=lambda: self.link.renewal_problem,
        )


def check_names(config: ProviderConfig, joined: Memberships) -> None:
    """``ConfigError`` where a market is configured that this provider is not in, or is in since the first."""
    later = sorted(each.market for each in joined.all if each.id != HOME)
    for name in config.markets:
        if name not in later:
            known = f"name one of {', '.join(later)}" if later else "remove it"
            first = joined.all[0]
            remedy = "use lease.listen" if first.id == HOME and first.market == name else known
            raise ConfigError(f"markets.{name}: not a market that was joined after the first", remedy=remedy)


def join_up(
    config: ProviderConfig,
    membership: Membership,
    state: Callable[[], AgentState],
    clock: Clock,
    chance: Random,
) -> Joined:
    """A link, not dialled yet, from where ``state`` says the market was read."""
    is_first = membership.id == HOME
    address = advertised(config) if is_first else advertised_in(config, membership.market)
    identity = LiveIdentity(membership.who)
    settings = LinkSettings(
        state_dir=membership.folder,
        instance=secrets.token_hex(8),
        software=__version__,
        lease_address=address,
        lease_socket=membership.socket,
    )
    screener = Screener(GatewaySettings(), state, clock, membership.id)
    link = GrpcLink(settings, identity, clock, chance, lambda: state().market(membership.id).position)
    link.screen = lambda request, owner: screener.answer(request, guest=Role.COORDINATOR, owner=owner)
    return Joined(membership=membership, identity=identity, link=link, lease_address=address)


def lease_server(config: ProviderConfig, joined: Joined, world: LeaseWorld) -> LeaseServer:
    """The door for one market's tenants."""
    membership = joined.membership
    settings = GatewaySettings(
        listen=_listen(config, membership), socket=membership.socket, host=public_host(config)
    )
    doorman = Doorman(joined.identity.now.member, joined.link.token_keys, world.clock, membership.id)
    return LeaseServer(settings, joined.identity, LeaseGateway(settings, world, doorman))


def _listen(config: ProviderConfig, membership: Membership) -> str:
    if membership.id == HOME:
        addresses.split(config.lease.listen, "lease.listen")
        return config.lease.listen
    there = config.markets.get(membership.market)
    if there is None or not there.listen:
        return ""
    addresses.split(there.listen, f"markets.{membership.market}.listen")
    return there.listen
