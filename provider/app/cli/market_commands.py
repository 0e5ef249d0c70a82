"""Joining markets, looking at them, leaving them. What the running daemon says of them it says itself."""

from __future__ import annotations

import argparse
import asyncio
import json

from provider.adapters.clock import SystemClock
from provider.adapters.store.sqlite import SqliteStore
from provider.app import render
from provider.app.cli.entry import DONE
from provider.app.cli.provider_commands import SOCKET, config
from provider.app.config import ProviderConfig
from provider.app.enrolling import join, token_for
from provider.app.market_client import Daemon
from provider.app.memberships import Memberships, folder_for, forget, memberships
from provider.app.policy import policy
from provider.app.wiring import DATABASE
from provider.core import markets as core_markets
from provider.domain.errors import ConfigError
from provider.domain.moment import Instant, rfc3339
from provider.rpc.member import Role
from provider.rpc.v1 import operator_pb2


def enroll(args: argparse.Namespace) -> int:
    """Join a market: the first one, or one more."""
    settings = config(args)
    token = token_for(args.token, Role.PROVIDER)
    folder = folder_for(settings.state_dir, token.member.market)
    joined = asyncio.run(join(token, folder)).member
    print(f"{joined.name} is now a provider of the market {joined.market}")
    if folder == settings.state_dir:
        print("  Next: provider doctor, then provider run")
    else:
        print("  Its tenants come through the coordinator, unless they get a port of their own:")
        print(f"    markets: {{{joined.market}: {{listen: 0.0.0.0:8444}}}}   # in the configuration")
        print("  Next: start the daemon again; leases go on running meanwhile")
    return DONE


def markets(args: argparse.Namespace) -> int:
    """The markets that the running daemon is in."""

    async def ask() -> operator_pb2.GetStatusResponse:
        async with Daemon(config(args).state_dir / SOCKET) as daemon:
            return await daemon.status()

    answer = asyncio.run(ask())
    if args.json:
        print(json.dumps([render.as_dict(market) for market in answer.markets], indent=2))
    else:
        render.console().print(render.markets(answer.markets))
    return DONE


def leave(args: argparse.Namespace) -> int:
    """Leave a market while the daemon is stopped; only where no lease and no debt keeps us in it."""
    settings = config(args)
    joined = memberships(settings.state_dir, SystemClock().now())
    membership = joined.find(args.market)
    if membership is None:
        raise ConfigError(
            f"this provider is not in the market {args.market}",
            remedy=f"it is in {', '.join(each.market for each in joined.all)}",
        )
    store = _store(settings, joined)
    try:
        state, unfinished = store.load()
        ties = core_markets.ties_to(state, unfinished, membership.id)
        if ties:
            raise ConfigError(
                f"there are still {' and '.join(ties)} in the market {membership.market}",
                remedy="provider run, provider drain, and leave once its leases have ended",
            )
        store.commit([core_markets.leave(state, unfinished, membership.id)])
    finally:
        store.close()
    forget(settings.state_dir, membership)
    until = rfc3339(Instant(membership.who.certificate.not_after))
    print(f"{membership.name} has left the market {membership.market}")
    print(f"  Its coordinator knows the certificate until {until}; its key is removed here")
    return DONE


def _store(settings: ProviderConfig, joined: Memberships) -> SqliteStore:
    """``ConfigError`` while the daemon runs."""
    rules = policy(settings, joined.provider, joined.names)
    return SqliteStore.open(settings.state_dir / DATABASE, rules, settings.secrets_key_file)
