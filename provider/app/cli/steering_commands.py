"""What the operator asks of a running daemon: a lease's end after a notice, no more bids."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Awaitable, Callable

from provider.app import render
from provider.app.cli.entry import DONE, USAGE
from provider.app.cli.provider_commands import SOCKET, config
from provider.app.market_client import Daemon
from provider.domain.errors import ConfigError
from provider.domain.ids import LeaseId
from provider.domain.moment import HOUR, MINUTE, SECOND, Instant, Span, rfc3339
from provider.rpc import codec
from provider.rpc.v1 import operator_pb2

_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR}
_NOTICE = re.compile(r"([0-9]{1,6})([smh])", re.ASCII)


def close(args: argparse.Namespace) -> int:
    """Give notice; the daemon does the rest, over its own restarts too."""
    notice = _span(args.notice)

    async def ask(daemon: Daemon) -> int:
        lease = await _lease(daemon, args.lease)
        answer = await daemon.close_lease(lease, notice, args.why, force=args.force)
        if notice:
            print(f"{lease} ends at {rfc3339(Instant(answer.ends_ms))}; its tenant is told")
        else:
            print(f"{lease} ends now")
        return DONE

    return _with_daemon(args, ask)


def drain(args: argparse.Namespace) -> int:
    """No new leases, or new ones again; the daemon remembers it."""

    async def ask(daemon: Daemon) -> int:
        answer = await daemon.set_drain(drain=not args.off)
        if args.off:
            print("bidding again")
        else:
            print(f"bidding on nothing; {answer.leases} lease(s) run on")
            print("  Next: provider leases; provider drain --off ends it")
        return DONE

    return _with_daemon(args, ask)


def reload(args: argparse.Namespace) -> int:
    """2 where the configuration cannot be, and the daemon goes on with what it had."""

    async def ask(daemon: Daemon) -> int:
        answer = await daemon.reload()
        if args.json:
            print(render.as_json(answer))
        else:
            _show_reloaded(answer)
        return USAGE if answer.problem else DONE

    return _with_daemon(args, ask)


def _show_reloaded(answer: operator_pb2.ReloadResponse) -> None:
    if answer.problem:
        print(f"nothing was changed: {answer.problem}", file=sys.stderr)
        print(f"  Try: {answer.remedy}", file=sys.stderr)
        return
    for change in answer.changes:
        print(change)
    if not answer.changes:
        print("nothing is different, of what can change while the daemon runs")
    for waiting in answer.waits:
        print(f"{waiting} (from the next start of the daemon)", file=sys.stderr)


def _span(text: str) -> Span:
    match = _NOTICE.fullmatch(text)
    if match is None:
        raise ConfigError(f"--notice {text}: not a length of time", remedy="such as 90s, 10m or 2h")
    number, unit = match.groups()
    return Span(int(number) * _UNITS[unit])


async def _lease(daemon: Daemon, text: str) -> LeaseId:
    """The lease that is named, in full or by its key."""
    answer = await daemon.status()
    for lease in answer.leases:
        if text in (lease.key, render.lease_name(lease.id)):
            return codec.own_lease_id_from_pb(lease.id)
    raise ConfigError(f"there is no lease {text} here", remedy="list them with `provider leases`")


def _with_daemon(args: argparse.Namespace, ask: Callable[[Daemon], Awaitable[int]]) -> int:
    async def go() -> int:
        async with Daemon(config(args).state_dir / SOCKET) as daemon:
            return await ask(daemon)

    return asyncio.run(go())
