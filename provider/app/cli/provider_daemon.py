"""``provider run``: the daemon, from its configuration to its last signal.

SIGTERM and SIGINT end it in order; leases go on running, and the next start takes them up again. SIGHUP has
it read prices and what is bid on again.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from functools import partial

import structlog

from provider.adapters.clock import SystemClock
from provider.adapters.telemetry.lag import watch_loop_lag
from provider.app import logs
from provider.app.cli.entry import DONE
from provider.app.cli.provider_commands import config_path
from provider.app.config_reading import load
from provider.app.memberships import memberships
from provider.app.signals import at_each, hangups, until_signalled
from provider.app.wiring import open_agent
from provider.shell.daemon import live
from provider.shell.sources import look_at_watts


def run(args: argparse.Namespace) -> int:
    """Until a signal says so."""
    config = load(config_path(args), os.environ)
    logs.configure(config.log_level)
    joined = memberships(config.state_dir, SystemClock().now())
    log = structlog.get_logger()

    async def serve() -> None:
        # SIGHUP first: one that comes while all else starts is answered once it has, and does not end it.
        with hangups() as asked:
            await serve_until_signalled(asked)

    async def serve_until_signalled(asked: asyncio.Event) -> None:
        reread = partial(load, config_path(args), os.environ)
        async with open_agent(config, joined, reread=reread) as agent:
            log.info(
                "provider_started",
                provider=joined.provider,
                markets=[each.market for each in joined.all],
                leases=len(agent.loop.state.leases),
            )
            async with asyncio.TaskGroup() as group:
                group.create_task(watch_loop_lag(agent.metrics.loop_lag))
                group.create_task(agent.attribution.run())
                group.create_task(agent.health.run())
                group.create_task(agent.power.run(partial(look_at_watts, agent.machine, agent.loop)))
                life = group.create_task(
                    live(agent.loop, agent.machine, agent.links, agent.performer, agent.unfinished)
                )
                group.create_task(at_each(asked, agent.reloading.reload))
                stopping = group.create_task(until_signalled())
                await asyncio.wait([life, stopping], return_when=asyncio.FIRST_COMPLETED)
                raise _Stopping

    try:
        asyncio.run(serve())
    except* _Stopping:
        log.info("provider_stopped")
    return DONE


class _Stopping(Exception):
    """Ends the tree of tasks from within, the way a failure would."""
