"""``tenant screen`` and ``coordinator screen``: a dry run of an order at providers."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from provider.adapters.clock import SystemClock
from provider.app import manifest_files, screen_rendering, screening
from provider.app.cli.tenant_commands import home, plan_from
from provider.app.enrolling import fresh
from provider.app.market_client import Admin
from provider.coordinator.settings import SOCKET
from provider.domain.errors import ConfigError
from provider.rpc import identity
from provider.rpc.member import Role


def screen(args: argparse.Namespace) -> int:
    """A tenant's: at providers that it names. 3 where there is a group on which none of them would bid."""
    providers = [screening.asked(text) for text in args.provider]
    groups = plan_from(args).groups

    async def ask() -> list[screening.Said]:
        who = identity.load(home(args), Role.TENANT, at=SystemClock().now())
        return await screening.ask_all(await fresh(who, home(args)), providers, groups)

    said = asyncio.run(ask())
    return screen_rendering.show(said, (group.name for group in groups), as_json=args.json)


def screen_members(args: argparse.Namespace) -> int:
    """The market's: at those that are in it. 3 as above."""
    if args.wait <= 0:
        raise ConfigError(f"--wait {args.wait:g}: must be more than nothing", remedy="such as --wait 5")
    secrets = manifest_files.Secrets(env_files=tuple(args.env_file), from_environment=args.env)
    parsed = manifest_files.load(args.file, lenient=args.lenient, secrets=secrets)

    async def ask() -> list[screening.Said]:
        async with Admin(Path(args.state) / SOCKET) as admin:
            told = await admin.screen(parsed.groups, args.provider, args.owner, args.wait)
        return [screening.said_of(view) for view in told.screenings]

    said = asyncio.run(ask())
    return screen_rendering.show(said, (group.name for group in parsed.groups), as_json=args.json)
