"""``tenant screen``: a dry run of an order at providers that the tenant names."""

from __future__ import annotations

import argparse
import asyncio
import json

from rich.markup import escape

from provider.adapters.clock import SystemClock
from provider.app import render, screening
from provider.app.cli.entry import DONE, UNHEALTHY
from provider.app.cli.tenant_commands import home, plan_from
from provider.app.enrolling import fresh
from provider.rpc import identity
from provider.rpc.member import Role


def screen(args: argparse.Namespace) -> int:
    """3 where there is a group on which none of them would bid."""
    providers = [screening.asked(text) for text in args.provider]
    groups = plan_from(args).groups

    async def ask() -> list[screening.Said]:
        who = identity.load(home(args), Role.TENANT, at=SystemClock().now())
        return await screening.ask_all(await fresh(who, home(args)), providers, groups)

    said = asyncio.run(ask())
    if args.json:
        print(json.dumps([_as_dict(each) for each in said], indent=2))
    else:
        rows = [_row(each) for each in said]
        render.console().print(render.table(("GROUP", "PROVIDER", "BIDS", "PRICE", "GPUS", "WHY NOT"), rows))
    served = {each.group for each in said if each.answer is not None and each.answer.would_bid}
    return DONE if served == {group.name for group in groups} else UNHEALTHY


def _row(said: screening.Said) -> tuple[str, ...]:
    if said.answer is None:
        return said.group, said.provider, "[red]no answer[/red]", "-", "-", escape(said.problem)
    answer = said.answer
    if answer.would_bid:
        gpus = ", ".join(render.gpu_offer(gpu) for gpu in answer.gpus) or "-"
        price = render.hourly(answer.rate) if answer.HasField("rate") else "made on order"
        return said.group, said.provider, "[green]yes[/green]", price, gpus, ""
    why = render.refusal(answer.reason, answer.required, answer.available)
    return said.group, said.provider, "[yellow]no[/yellow]", "-", "-", escape(why)


def _as_dict(said: screening.Said) -> dict[str, object]:
    told: dict[str, object] = {"group": said.group, "provider": said.provider}
    if said.answer is None:
        return told | {"problem": said.problem}
    return told | render.as_dict(said.answer)
