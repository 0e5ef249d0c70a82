"""What ``coordinator`` does: run the market, invite members, credit tenants, look."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import structlog

from provider.adapters.clock import SystemClock
from provider.app import logs, render
from provider.app.cli.entry import DONE
from provider.app.market_client import Admin
from provider.app.signals import until_signalled
from provider.coordinator.escrow import AMOUNT_MAX
from provider.coordinator.market.draft import RULES
from provider.coordinator.server import RunningCoordinator, running
from provider.coordinator.settings import SOCKET, CoordinatorSettings
from provider.domain.errors import ConfigError
from provider.domain.ids import member_name
from provider.domain.moment import MINUTE, Instant, rfc3339
from provider.domain.money import Money
from provider.domain.secret import Secret
from provider.rpc import join
from provider.rpc.member import Member, Role
from provider.rpc.v1 import admin_pb2

T = TypeVar("T")


def run(args: argparse.Namespace) -> int:
    """Until a signal says so. A new market gets its name here, an old one keeps it."""
    logs.configure("info")
    log = structlog.get_logger()
    state = Path(args.state)
    settings = CoordinatorSettings(
        state=state,
        market=args.market or (None if (state / "market.db").exists() else "market"),
        listen=args.listen,
        enrolment_listen=args.enrolment_listen,
        advertise=args.advertise,
        rules=replace(RULES, bid_deposit=_bid_deposit(args.bid_deposit)),
    )

    async def serve() -> None:
        async with running(settings, SystemClock()) as coordinator:
            _say_ready(coordinator)
            await until_signalled()

    asyncio.run(serve())
    log.info("coordinator_stopped")
    return DONE


def _bid_deposit(micros: int) -> int:
    if not 0 <= micros <= AMOUNT_MAX:
        raise ConfigError(f"--bid-deposit {micros}: not an amount", remedy="such as 500000: that is 0.5 ACT")
    return micros


def _say_ready(coordinator: RunningCoordinator) -> None:
    structlog.get_logger().info(
        "coordinator_started",
        market=coordinator.market,
        address=coordinator.address,
        enrolment_address=coordinator.enrolment_address,
    )


def invite(args: argparse.Namespace) -> int:
    """Print a join token. It is the last line, so that it can be piped."""
    role, name = Role(args.role), _checked(args.name)
    answer = _ask(args, lambda admin: admin.invite(role, name, args.ttl * MINUTE))
    token = join.JoinToken(
        member=Member(role=role, market=answer.market, name=name),
        address=answer.address,
        enrolment_address=answer.enrolment_address,
        authority_pem=answer.authority_pem,
        secret=Secret(answer.secret),
    )
    until = rfc3339(Instant(answer.expires_ms))
    print(f"{name} may join the market {answer.market} as a {role}, once, until {until}.")
    print(f"Run there: {role} enroll TOKEN, with this token:")
    print(join.encode(token))
    return DONE


def fund(args: argparse.Namespace) -> int:
    """Credit a member."""
    try:
        amount = Money.parse(args.amount)
    except ValueError as error:
        raise ConfigError(str(error), remedy="such as 5000000uact: that is 5 ACT") from error
    role = Role.PROVIDER if args.provider else Role.TENANT
    answer = _ask(args, lambda admin: admin.fund(role, _checked(args.name), amount))
    print(f"{args.name} has {render.money(answer.available)} to spend")
    return DONE


def status(args: argparse.Namespace) -> int:
    """Members, accounts, orders and leases."""
    answer = _ask(args, lambda admin: admin.market())
    if args.json:
        print(render.as_json(answer))
        return DONE
    out = render.console()
    out.print(
        f"market {answer.market}: {answer.open_orders} open orders, {answer.active_leases} active leases"
    )
    out.print(render.table(("PROVIDER", "CONNECTED", "LEASES AT", "LAST SEEN", "EARNED"), _providers(answer)))
    rows = [(account.name, render.money(account.balance)) for account in answer.accounts]
    out.print(render.table(("ACCOUNT", "BALANCE"), rows))
    return DONE


def _providers(answer: admin_pb2.GetMarketResponse) -> list[tuple[str, ...]]:
    return [
        (
            provider.name,
            "yes" if provider.connected else "no",
            provider.lease_address or "-",
            rfc3339(Instant(provider.last_seen_ms)) if provider.last_seen_ms else "never",
            ", ".join(render.money(each) for each in provider.earned) or "-",
        )
        for provider in answer.providers
    ]


def _checked(name: str) -> str:
    try:
        return member_name(name)
    except ValueError as error:
        raise ConfigError(str(error), remedy="choose another name") from error


def _ask(args: argparse.Namespace, ask: Callable[[Admin], Awaitable[T]]) -> T:
    async def go() -> T:
        async with Admin(Path(args.state) / SOCKET) as admin:
            return await ask(admin)

    return asyncio.run(go())
