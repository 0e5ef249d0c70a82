"""``provider leases`` and ``tenant usage``: what leases use, once or as long as one looks."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.text import Text

from provider.app import lease_rendering, render, usage_tables, watching
from provider.app.cli.entry import DONE
from provider.app.cli.provider_commands import SOCKET, config
from provider.app.cli.tenant_commands import with_tenancy
from provider.app.lease_client import LeaseCalls
from provider.app.market_client import Daemon
from provider.app.tenancy import Tenancy
from provider.app.usage_tables import RateMeter, Rates
from provider.domain.errors import Permanent
from provider.domain.ids import LeaseId
from provider.rpc import codec
from provider.rpc.tokens import Scope
from provider.rpc.v1 import lease_pb2, operator_pb2, resources_pb2, tenant_pb2


def leases(args: argparse.Namespace) -> int:
    """The operator's."""

    async def ask() -> int:
        async with Daemon(config(args).state_dir / SOCKET) as daemon:
            if not args.watch:
                _show_leases(await daemon.status(), is_json=args.json)
                return DONE
            watching.check_terminal(is_json=args.json)
            async with aclosing(daemon.statuses()) as told:
                if args.json:
                    await watching.printed(told, _plain_leases)
                else:
                    await watching.drawn(told, _leases_drawn)
        return DONE

    return asyncio.run(ask())


def _plain_leases(answer: operator_pb2.GetStatusResponse) -> list[dict[str, object]]:
    return [render.as_dict(lease) for lease in answer.leases]


def _leases_drawn(answer: operator_pb2.GetStatusResponse) -> RenderableType:
    problem = answer.usage_problem
    note = [Text(f"What containers use is not known: {problem}", style="yellow")] if problem else []
    if not answer.leases:
        return Group("no leases", *note)
    held, used = usage_tables.leases(answer)
    return Group(held, "", used, *note)


def _show_leases(answer: operator_pb2.GetStatusResponse, *, is_json: bool) -> None:
    if is_json:
        print(json.dumps(_plain_leases(answer), indent=2))
    else:
        render.console().print(_leases_drawn(answer))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """A lease's status."""

    lease: LeaseId
    status: lease_pb2.GetLeaseStatusResponse
    growth: Rates | None = None
    """While one watches: how fast it grows, nothing of which is known before the second sample."""


def usage(args: argparse.Namespace) -> int:
    """A tenant's, of one deployment."""

    async def ask(tenancy: Tenancy) -> int:
        found = await _active(tenancy, args.dseq)
        if args.watch:
            watching.check_terminal(is_json=args.json)
        async with AsyncExitStack() as stack:
            calls = {
                lease: await stack.enter_async_context(await tenancy.lease_calls(lease, (Scope.STATUS,)))
                for lease in found
            }
            if not args.watch:
                told = [_Told(lease=lease, status=await each.status()) for lease, each in calls.items()]
                if args.json:
                    print(json.dumps([_plain(each) for each in told], indent=2))
                else:
                    render.console().print(_drawn(told))
                return DONE
            async with aclosing(_together(calls)) as looks:
                if args.json:
                    await watching.printed(looks, lambda look: [_plain(each) for each in look])
                else:
                    await watching.drawn(looks, _drawn)
        return DONE

    return with_tenancy(args, ask)


async def _active(tenancy: Tenancy, dseq: int) -> list[LeaseId]:
    view = await tenancy.market.deployment(dseq)
    found = [
        codec.lease_id_from_pb(lease.id)
        for lease in view.leases
        if lease.state == tenant_pb2.LEASE_STATE_ACTIVE
    ]
    if not found:
        raise Permanent(f"deployment {dseq} has no lease that runs", remedy=f"tenant status {dseq}")
    return found


async def _together(calls: dict[LeaseId, LeaseCalls]) -> AsyncGenerator[list[_Told], None]:
    """What is known of all, whenever one of them tells. Ends when all have ended."""
    news: asyncio.Queue[_Told | None] = asyncio.Queue(maxsize=len(calls))

    async def follow(lease: LeaseId, each: LeaseCalls) -> None:
        meter = RateMeter()
        async with aclosing(each.statuses()) as told:
            async for status in told:
                await news.put(_Told(lease=lease, status=status, growth=meter.growth(status.usage)))
        await news.put(None)

    known: dict[LeaseId, _Told] = {}
    async with asyncio.TaskGroup() as tasks:
        followers = [tasks.create_task(follow(lease, each)) for lease, each in calls.items()]
        try:
            left = len(calls)
            while left:
                told = await news.get()
                if told is None:
                    left -= 1
                    continue
                known[told.lease] = told
                yield [known[lease] for lease in calls if lease in known]
        finally:
            for follower in followers:
                follower.cancel()


def _plain(told: _Told) -> dict[str, object]:
    health = told.status.health
    return {
        "lease": str(told.lease),
        "health": resources_pb2.LeaseHealth.Name(health),
        "running_ms": str(told.status.running_ms),
        "usage": render.as_dict(told.status.usage) if told.status.HasField("usage") else None,
    }


def _drawn(look: list[_Told]) -> RenderableType:
    shown: list[RenderableType] = []
    for told in look:
        ran = render.duration(told.status.running_ms)
        shown.append(Text(f"{told.lease}: ran {ran}", style="bold"))
        shown += lease_rendering.usage_drawn(told.status.usage, told.growth)
    return Group(*shown)
