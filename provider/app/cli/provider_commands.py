"""What the operator's short commands do. The daemon itself is in ``provider_daemon``."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from dataclasses import asdict
from pathlib import Path

from rich.markup import escape

from provider.app import logs, render, usage_tables
from provider.app.cli.entry import DONE, UNHEALTHY
from provider.app.config import DEFAULT_PATH, ProviderConfig
from provider.app.config_reading import load
from provider.app.doctor import examine
from provider.app.finding import Finding
from provider.app.initial_config import initial
from provider.app.market_client import Daemon
from provider.domain.errors import ConfigError
from provider.rpc.v1 import operator_pb2

SOCKET = "operator.sock"
"""In the state folder: where the daemon answers its operator."""


def config_path(args: argparse.Namespace) -> Path:
    """``--config``, else ``$PROVIDER_CONFIG``, else the usual place."""
    return Path(args.config or os.environ.get("PROVIDER_CONFIG") or DEFAULT_PATH)


def config(args: argparse.Namespace) -> ProviderConfig:
    return load(config_path(args), os.environ)


def init(args: argparse.Namespace) -> int:
    """Write the configuration file."""
    path = config_path(args)
    if path.exists() and not args.force:
        raise ConfigError(
            f"{path} is there already", remedy="edit it, or overwrite it: provider init --force"
        )
    state_dir = args.state_dir or str(ProviderConfig().state_dir)
    text = initial(state_dir, args.advertise, args.simulate, os.cpu_count() or 1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}", remedy="use --config FILE"
        ) from error
    load(path, {})
    print(f"{path} is written; prices and addresses are in it")
    print("  Next: provider enroll TOKEN, with a token of the market's owner")
    return DONE


def doctor(args: argparse.Namespace) -> int:
    """3 if the daemon could not do its work on this machine."""

    async def collect() -> list[Finding]:
        return [finding async for finding in examine(config(args))]

    logs.configure("error")  # what the parts say in passing is no finding
    findings = asyncio.run(collect())
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        marks = {True: "[green]✓[/green]", False: "[yellow]![/yellow]"}
        rows = []
        for finding in findings:
            mark = "[red]x[/red]" if finding.is_fatal else marks[finding.is_well]
            text = finding.found if finding.is_well else f"{finding.found}\n  Try: {finding.remedy}"
            rows.append((mark, finding.check, escape(text)))
        render.console().print(render.table(("", "CHECK", "FOUND"), rows))
    return UNHEALTHY if any(finding.is_fatal for finding in findings) else DONE


def status(args: argparse.Namespace) -> int:
    """3 where the daemon runs but does not reach its engine, or one of its markets."""
    answer = _ask(args)
    if args.json:
        print(render.as_json(answer))
    else:
        _show_status(answer)
    is_well = answer.engine and all(market.connected for market in answer.markets)
    return DONE if is_well else UNHEALTHY


def _show_status(answer: operator_pb2.GetStatusResponse) -> None:
    out = render.console()
    rows = [
        ("Provider", f"{answer.provider} (software {answer.software})"),
        *(("Market", _market_line(market)) for market in answer.markets),
        ("Engine", answer.engine or "not reached yet"),
        ("GPUs by", answer.gpu_attachment or "-"),
        ("Leases", f"{len(answer.leases)}, open bids: {answer.open_bids}"),
        *([("In use", used)] if (used := usage_tables.in_use(answer)) else []),
        *([("", f"not all is known: {answer.usage_problem}")] if answer.usage_problem else []),
        *([("Draining", "it bids on nothing; `provider drain --off` ends that")] if answer.draining else []),
    ]
    for node in answer.nodes:
        rows += [
            (
                f"Node {node.name}",
                f"{node.cpu_millis_free / 1000:g} of {node.cpu_millis / 1000:g} cores free",
            ),
            ("", f"{render.size(node.memory_bytes_free)} of {render.size(node.memory_bytes)} memory free"),
            ("", f"{render.size(node.storage_bytes_free)} of {render.size(node.storage_bytes)} disk free"),
            ("", _gpu_line(node)),
        ]
    out.print(render.table(("", ""), rows))


def _market_line(market: operator_pb2.MarketStatus) -> str:
    link = "connected" if market.connected else f"not connected: {market.link_problem or 'not yet'}"
    return f"{market.market} at {market.coordinator_address}, {link}"


def _gpu_line(node: operator_pb2.NodeStatus) -> str:
    held = sum(gpu.HasField("lease") for gpu in node.gpus)
    text = f"{len(node.gpus) - held} of {len(node.gpus)} GPUs free"
    idling = sum(gpu.idle_job.phase == "running" for gpu in node.gpus if gpu.HasField("idle_job"))
    text += f", the idle job on {idling}" if idling else ""
    text += f" {render.SIMULATED}" if node.simulated_gpus else ""
    return text + (f": {node.gpu_problem}" if node.gpu_problem else "")


def _ask(args: argparse.Namespace) -> operator_pb2.GetStatusResponse:
    async def ask() -> operator_pb2.GetStatusResponse:
        async with Daemon(config(args).state_dir / SOCKET) as daemon:
            return await daemon.status()

    return asyncio.run(ask())
