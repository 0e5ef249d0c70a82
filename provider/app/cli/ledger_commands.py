"""What the operator asks of the ledger: which bids, and why."""

from __future__ import annotations

import argparse
import asyncio
import json
from difflib import get_close_matches
from enum import StrEnum

from provider.adapters.clock import SystemClock
from provider.app import bid_rendering, render
from provider.app.cli.entry import DONE
from provider.app.cli.provider_commands import SOCKET, config
from provider.app.cli.targets import since_ns
from provider.app.market_client import Daemon
from provider.core.ledger import Fate
from provider.domain.errors import ConfigError
from provider.domain.ids import LeaseId, OrderId
from provider.domain.market import Refusal
from provider.rpc.v1 import operator_pb2


def bids(args: argparse.Namespace) -> int:
    """Open ones first, then the newest."""
    request = operator_pb2.ListDecisionsRequest(
        since_ms=_since_ms(args.since),
        outcomes=[_known(Fate, name, "--outcome") for name in args.outcome],
        reasons=[_known(Refusal, name, "--reason") for name in args.reason],
        limit=_limit(args.limit),
    )

    async def ask() -> operator_pb2.ListDecisionsResponse:
        async with Daemon(config(args).state_dir / SOCKET) as daemon:
            return await daemon.decisions(request)

    answer = asyncio.run(ask())
    if args.json:
        print(json.dumps([render.as_dict(each) for each in answer.decisions], indent=2))
    elif answer.decisions:
        out = render.console()
        out.print(bid_rendering.table(answer.decisions, out.width))
    else:
        print("no order was decided on" + (" that fits" if args.since or args.outcome or args.reason else ""))
    return DONE


def why(args: argparse.Namespace) -> int:
    """One order's page."""
    name = _order(args.order)

    async def ask() -> operator_pb2.ExplainOrderResponse:
        async with Daemon(config(args).state_dir / SOCKET) as daemon:
            return await daemon.explain(name)

    answer = asyncio.run(ask())
    if args.json:
        print(json.dumps([render.as_dict(each) for each in answer.decisions], indent=2))
    else:
        bid_rendering.page(render.console(), answer.decisions)
    return DONE


def _order(text: str) -> str:
    try:
        return str(LeaseId.parse(text).order if text.count("/") == 4 else OrderId.parse(text))
    except ValueError as problem:
        raise ConfigError(str(problem), remedy="name it as `provider bids` does") from None


def _since_ms(text: str) -> int:
    return since_ns(text, SystemClock().now()) // 1_000_000 if text else 0


def _known(kind: type[StrEnum], name: str, option: str) -> str:
    word = name.lower().replace("-", "_").replace(" ", "_")
    if word in tuple(kind):
        return word
    near = get_close_matches(word, list(kind), 1)
    remedy = f"did you mean {near[0]}?" if near else f"use one of {', '.join(kind)}"
    raise ConfigError(f"{option} {name}: there is no such thing", remedy=remedy)


def _limit(count: int) -> int:
    if not 1 <= count <= 1000:
        raise ConfigError(f"--limit {count}: must be 1 to 1000", remedy="use --since to look further back")
    return count
