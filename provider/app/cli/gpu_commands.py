"""``provider gpus``: the cards, once or as long as one looks; their health; taking one out and back in."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from rich.live import Live

from provider.app import gpu_tables, render
from provider.app.cli.entry import DONE
from provider.app.cli.provider_commands import SOCKET, config
from provider.app.market_client import Daemon
from provider.core.health import words
from provider.domain.errors import ConfigError

LOOK_EVERY_S = 2.0
"""As often as the daemon reads the cards."""


def gpus(args: argparse.Namespace) -> int:
    """All of them, once or again and again."""
    if args.watch:
        if args.json or not sys.stdout.isatty():
            raise ConfigError(
                "--watch draws on a terminal, and there is none", remedy="provider gpus --json, in a loop"
            )
        return asyncio.run(_watch(args))

    async def ask() -> int:
        async with _daemon(args) as daemon:
            answer = await daemon.status()
        if args.json:
            print(json.dumps([render.as_dict(node) for node in answer.nodes], indent=2))
        else:
            render.console().print(gpu_tables.gpus(answer.nodes))
        return DONE

    return asyncio.run(ask())


async def _watch(args: argparse.Namespace) -> int:
    """In place, until Ctrl-C."""
    async with _daemon(args) as daemon:
        with Live(console=render.console(), auto_refresh=False) as live:
            while True:
                answer = await daemon.status()
                live.update(gpu_tables.gpus(answer.nodes), refresh=True)
                await asyncio.sleep(LOOK_EVERY_S)


def health(args: argparse.Namespace) -> int:
    """What holds against a card or all of them, and what held before."""

    async def ask() -> int:
        async with _daemon(args) as daemon:
            answer = await daemon.gpu_health(args.gpu)
        if args.json:
            print(render.as_json(answer))
        else:
            render.console().print(gpu_tables.reports(answer))
        return DONE

    return asyncio.run(ask())


def cordon(args: argparse.Namespace) -> int:
    """Out of sale, over restarts too."""

    async def ask() -> int:
        async with _daemon(args) as daemon:
            answer = await daemon.cordon_gpu(args.gpu, args.why)
        print(f"{answer.uuid} is not sold any more")
        if answer.HasField("lease"):
            print(f"  {render.lease_name(answer.lease)} runs on; `provider close` takes it back")
        print(f"  Next: provider gpus uncordon {args.gpu} ends it")
        return DONE

    return asyncio.run(ask())


def uncordon(args: argparse.Namespace) -> int:
    """On sale again, and what held against it acknowledged."""

    async def ask() -> int:
        async with _daemon(args) as daemon:
            answer = await daemon.uncordon_gpu(args.gpu)
        over = ", ".join(map(words, answer.acknowledged)) or "nothing held against it"
        print(f"{answer.uuid} is well, as you say: {over}")
        print("  What is still so comes again at the next look: provider gpus health")
        return DONE

    return asyncio.run(ask())


def _daemon(args: argparse.Namespace) -> Daemon:
    return Daemon(config(args).state_dir / SOCKET)
