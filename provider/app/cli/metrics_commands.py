"""``provider metrics``: one exposition on standard output."""

from __future__ import annotations

import argparse
import asyncio
import sys

from provider.app import logs
from provider.app.cli.entry import DONE
from provider.app.cli.provider_commands import SOCKET, config
from provider.app.market_client import Daemon


def metrics(args: argparse.Namespace) -> int:
    """The running daemon's, whoever may scrape it; or a simulated host's, for dashboards and checks."""
    sys.stdout.write((_simulated() if args.simulated else _of_daemon(args)).decode())
    return DONE


def _simulated() -> bytes:
    from provider.app.busy_story import exposition

    logs.configure("error")  # what happens to it is no news
    return exposition()


def _of_daemon(args: argparse.Namespace) -> bytes:
    async def ask() -> bytes:
        async with Daemon(config(args).state_dir / SOCKET) as daemon:
            return await daemon.metrics()

    return asyncio.run(ask())
