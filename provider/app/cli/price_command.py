"""``provider price FILE``: what a tenant's manifest would cost here, part by part, without a daemon."""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import replace

from provider.adapters.clock import SystemClock
from provider.app import logs, manifest_files, price_rendering, render
from provider.app.cli.entry import DONE, UNHEALTHY
from provider.app.cli.provider_commands import config
from provider.app.config import GpuConfig, ProviderConfig
from provider.app.offline_pricing import Priced, machine, price
from provider.domain.errors import ConfigError
from provider.domain.market import GroupSpec
from provider.sim.gpu import SimulatedGpus


def show_price(args: argparse.Namespace) -> int:
    """3 where a group would not be bid on."""
    logs.configure("error")  # what the parts say in passing is no part of a price
    groups = _groups(args)
    settings = _simulating(config(args), args.simulate)
    priced = asyncio.run(_price_all(settings, groups))
    if args.json:
        print(json.dumps([price_rendering.as_tree(each) for each in priced], indent=2))
    else:
        out = render.console()
        for number, each in enumerate(priced):
            out.print(*([""] if number else []), price_rendering.shown(each), sep="\n")
    return UNHEALTHY if any(each.refused for each in priced) else DONE


async def _price_all(settings: ProviderConfig, groups: tuple[GroupSpec, ...]) -> list[Priced]:
    node, at = await machine(settings), SystemClock().now()
    return [await price(settings, node, group, at) for group in groups]


def _groups(args: argparse.Namespace) -> tuple[GroupSpec, ...]:
    groups = manifest_files.load(args.file, lenient=True).groups
    wanted = tuple(group for group in groups if args.group in ("", group.name))
    if not wanted:
        raise ConfigError(
            f"--group {args.group}: there is no such placement in {args.file}",
            remedy=f"there are {', '.join(group.name for group in groups)}",
        )
    return wanted


def _simulating(settings: ProviderConfig, cards: list[str]) -> ProviderConfig:
    """With these cards, such as ``h100:2``, in place of those of the machine."""
    if not cards:
        return settings
    simulated = []
    for text in cards:
        model, _, count = text.partition(":")
        if not model or not (count or "1").isdigit():
            raise ConfigError(f"--simulate {text}: not of the form MODEL:COUNT", remedy="--simulate h100:2")
        simulated.append(SimulatedGpus(model=model, count=int(count or 1)))
    return replace(settings, gpu=GpuConfig(simulate=tuple(simulated)))
