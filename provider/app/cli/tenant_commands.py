"""What ``tenant`` does: each command asks the market or the provider, and shows the answer."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from provider.adapters.clock import SystemClock
from provider.app import lease_rendering, manifest_files, render, updating
from provider.app.cli.entry import DONE
from provider.app.enrolling import fresh, join, token_for
from provider.app.market_client import Market
from provider.app.tenancy import Plan, Tenancy, plan_of
from provider.domain.errors import ConfigError
from provider.domain.money import Money
from provider.rpc import codec, identity
from provider.rpc.member import Role
from provider.rpc.tokens import Scope
from provider.rpc.v1 import tenant_pb2


def home(args: argparse.Namespace) -> Path:
    """Where this tenant's identity and manifests are."""
    return Path(args.home or os.environ.get("TENANT_HOME") or Path.home() / ".tenant").expanduser()


def enroll(args: argparse.Namespace) -> int:
    """Join a market."""
    joined = asyncio.run(join(token_for(args.token, Role.TENANT), home(args)))
    print(f"{joined.member.name} is now a tenant of the market {joined.member.market} ({home(args)})")
    return DONE


def balance(args: argparse.Namespace) -> int:
    async def ask(tenancy: Tenancy) -> int:
        answer = await tenancy.market.balance()
        if args.json:
            print(render.as_json(answer))
            return DONE
        escrowed = {each.denom: each for each in answer.escrowed}
        rows = [
            (render.money(each), render.money(escrowed[each.denom]) if each.denom in escrowed else "-")
            for each in answer.available
        ]
        render.console().print(render.table(("FREE", "IN ESCROW"), rows))
        return DONE

    return with_tenancy(args, ask)


def deploy(args: argparse.Namespace) -> int:
    deposit, plan = _money(args.deposit), plan_from(args)

    async def ask(tenancy: Tenancy) -> int:
        dseq = await tenancy.deploy(plan, deposit)
        if args.json:
            print(render.as_json(await tenancy.market.deployment(dseq)))
        else:
            print(f"deployment {dseq} is on the market: {len(plan.groups)} order(s), {deposit} in escrow")
            print(f"  Next: tenant bids {dseq} --wait 60")
        return DONE

    return with_tenancy(args, ask)


def bids(args: argparse.Namespace) -> int:
    async def ask(tenancy: Tenancy) -> int:
        if args.wait:
            view = await tenancy.first_bids(args.dseq, args.wait)
        else:
            view = await tenancy.market.deployment(args.dseq)
        if args.json:
            print(render.as_json(view))
            return DONE
        out = render.console()
        for order in view.orders:
            state = render.enum_word(tenant_pb2.OrderState, order.state, "ORDER_STATE_")
            out.print(f"group {order.order.group.name}: order is {state}")
            out.print(render.bids(order) if order.bids else "  no bids")
        return DONE

    return with_tenancy(args, ask)


def accept(args: argparse.Namespace) -> int:
    async def ask(tenancy: Tenancy) -> int:
        leases = await tenancy.accept(args.dseq, args.provider, args.wait)
        for lease in leases:
            print(f"{lease.provider} confirmed the lease {lease}")
            await tenancy.send_manifest(lease)
            print("  the manifest is accepted; the service starts")
        view = await tenancy.running(args.dseq, args.wait)
        for each in view.leases:
            await _show_lease(tenancy, each, view.manifest_hash)
        return DONE

    return with_tenancy(args, ask)


def status(args: argparse.Namespace) -> int:
    async def ask(tenancy: Tenancy) -> int:
        if args.dseq is None:
            views = await tenancy.market.deployments(include_closed=args.all)
            if args.json:
                print(render.as_json(tenant_pb2.ListDeploymentsResponse(deployments=views)))
            else:
                render.console().print(render.deployments(views) if views else "no deployments")
            return DONE
        view = await tenancy.market.deployment(args.dseq)
        if args.json:
            print(render.as_json(view))
            return DONE
        render.console().print(render.deployments([view]))
        for lease in view.leases:
            if lease.state == tenant_pb2.LEASE_STATE_ACTIVE:
                await _show_lease(tenancy, lease, view.manifest_hash)
        return DONE

    return with_tenancy(args, ask)


async def _show_lease(tenancy: Tenancy, lease: tenant_pb2.LeaseView, ordered: bytes) -> None:
    lease_id = codec.lease_id_from_pb(lease.id)
    async with await tenancy.lease_calls(lease_id, (Scope.STATUS,)) as calls:
        answer = await calls.status()
    out = render.console()
    out.print(render.lease_line(lease) + (f": {answer.detail}" if answer.detail else ""))
    if answer.manifest_hash and answer.manifest_hash != ordered:
        runs = answer.manifest_hash.hex()[:12]
        out.print(f"It runs the manifest {runs}, and {ordered.hex()[:12]} is ordered")
    lease_rendering.show(out, answer)


def update(args: argparse.Namespace) -> int:
    plan = plan_from(args)

    async def ask(tenancy: Tenancy) -> int:
        await updating.update(tenancy, args.dseq, plan, args.wait, partial(print, flush=True))
        view = await tenancy.market.deployment(args.dseq)
        for lease in view.leases:
            if lease.state == tenant_pb2.LEASE_STATE_ACTIVE:
                await _show_lease(tenancy, lease, view.manifest_hash)
        return DONE

    return with_tenancy(args, ask)


def close(args: argparse.Namespace) -> int:
    async def ask(tenancy: Tenancy) -> int:
        view = await tenancy.close(args.dseq, args.wait)
        for lease in view.leases:
            ran = render.duration(lease.running_ms)
            print(f"{lease.id.provider}: ran {ran}, paid {render.money(lease.settled)}")
        print(f"deployment {args.dseq} is closed; {render.money(view.refunded)} came back")
        return DONE

    return with_tenancy(args, ask)


def with_tenancy(args: argparse.Namespace, ask: Callable[[Tenancy], Awaitable[int]]) -> int:
    async def go() -> int:
        who = identity.load(home(args), Role.TENANT, at=SystemClock().now())
        async with Market(await fresh(who, home(args)), _say_road(args)) as market:
            return await ask(Tenancy(market, home(args)))

    return asyncio.run(go())


def _say_road(args: argparse.Namespace) -> Callable[[str], None]:
    return (lambda text: print(text, file=sys.stderr)) if args.verbose else (lambda _: None)


def plan_from(args: argparse.Namespace) -> Plan:
    """What FILE and its options say."""
    secrets = manifest_files.Secrets(env_files=tuple(args.env_file), from_environment=args.env)
    parsed = manifest_files.load(args.file, lenient=args.lenient, secrets=secrets)
    return plan_of(parsed, _images(args.image))


def _money(text: str) -> Money:
    try:
        return Money.parse(text)
    except ValueError as error:
        raise ConfigError(str(error), remedy="such as 5000000uact: that is 5 ACT") from error


def _images(pairs: list[str]) -> dict[str, str]:
    images = {}
    for pair in pairs:
        service, _, image = pair.partition("=")
        if not (service and image):
            raise ConfigError(
                f"--image {pair}: not of the form SERVICE=IMAGE", remedy="--image web=nginx:1.27"
            )
        images[service] = image
    return images
