"""``provider``: the operator's command. ``provider run`` is the daemon; the others look at it or steer it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from provider import __version__
from provider.app.cli.entry import command
from provider.app.cli.entry import main as enter

COMMANDS = "provider_commands"
USAGE = "usage_commands"
STEERING = "steering_commands"
GPUS = "gpu_commands"
LEDGER = "ledger_commands"
MARKETS = "market_commands"


def parser() -> argparse.ArgumentParser:
    """Every subcommand and its options."""
    top = argparse.ArgumentParser(
        prog="provider", description="Turn this GPU server into a provider on a compute marketplace."
    )
    top.add_argument("--version", action="version", version=f"provider {__version__}")
    top.add_argument(
        "--config",
        metavar="FILE",
        help="configuration (default: $PROVIDER_CONFIG or /etc/provider/provider.yaml)",
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    _setting_up(commands)
    _looking(commands)
    _pricing(commands)
    _explaining(commands)
    _gpus(commands)
    _steering(commands)
    _signing(commands)
    demo = commands.add_parser("demo", help="run a whole market on this machine, end to end")
    demo.add_argument(
        "--keep", action="store_true", help="leave everything running, and say how to look around"
    )
    demo.add_argument("--end", metavar="DIR", help="end a demo that was kept in DIR, and remove everything")
    demo.add_argument("--json", action="store_true", help="print the receipt as JSON, nothing else")
    demo.add_argument(
        "--docker", metavar="URL", help="container engine (default: unix:///var/run/docker.sock)"
    )
    demo.set_defaults(run=command("demo_commands", "demo"))
    return top


def _setting_up(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    init = commands.add_parser("init", help="write a configuration file")
    init.add_argument("--state-dir", metavar="DIR", help="where the daemon keeps its state")
    init.add_argument("--advertise", metavar="HOST:PORT", help="where tenants reach this machine")
    init.add_argument("--simulate", metavar="MODEL:COUNT", help="offer simulated GPUs, such as h100:2")
    init.add_argument("--force", action="store_true", help="overwrite the file if it is there")
    init.set_defaults(run=command(COMMANDS, "init"))
    enroll = commands.add_parser("enroll", help="join a market, or one more, with a token of its owner")
    enroll.add_argument(
        "token",
        metavar="TOKEN",
        help="what `coordinator invite provider NAME` printed; - reads it from standard input",
    )
    enroll.set_defaults(run=command(MARKETS, "enroll"))
    run = commands.add_parser("run", help="run the daemon until SIGTERM; leases go on running")
    run.set_defaults(run=command("provider_daemon", "run"))
    doctor = commands.add_parser("doctor", help="check this machine, and say how to mend what is wrong")
    doctor.add_argument("--json", action="store_true")
    doctor.set_defaults(run=command(COMMANDS, "doctor"))


def _looking(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    status = commands.add_parser("status", help="the daemon, its market and its capacity")
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(run=command(COMMANDS, "status"))
    leases = commands.add_parser("leases", help="the leases: what they run, use, and have earned")
    leases.add_argument("--watch", action="store_true", help="go on until Ctrl-C")
    leases.add_argument("--json", action="store_true", help="for programs; with --watch a line each time")
    leases.set_defaults(run=command(USAGE, "leases"))
    metrics = commands.add_parser("metrics", help="what a scrape gives: the daemon's, or a simulated host's")
    metrics.add_argument(
        "--simulated", action="store_true", help="of a busy host that does not exist, with every metric in it"
    )
    metrics.set_defaults(run=command("metrics_commands", "metrics"))
    markets = commands.add_parser("markets", help="the markets: connected or not, leases, bids, earnings")
    markets.add_argument("--json", action="store_true", help="for programs")
    markets.set_defaults(run=command(MARKETS, "markets"))


def _explaining(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    bids = commands.add_parser("bids", help="decisions on orders: those that are open, then the newest")
    bids.add_argument("--since", metavar="WHEN", default="", help="10m, 1h30m, 7d or 2026-11-22T17:00:00Z")
    bids.add_argument("--outcome", metavar="NAME", action="append", default=[], help="won, refused, lost ...")
    bids.add_argument(
        "--reason", metavar="NAME", action="append", default=[], help="gpu_busy, price_too_low ..."
    )
    bids.add_argument(
        "--limit", metavar="COUNT", type=int, default=50, help="1000 at most (default: %(default)s)"
    )
    bids.add_argument("--json", action="store_true", help="for programs")
    bids.set_defaults(run=command(LEDGER, "bids"))
    why = commands.add_parser("why", help="all about one order: rules, GPUs, price, what came of it")
    why.add_argument("order", metavar="ORDER", help="as `provider bids` names it; a lease's name will do")
    why.add_argument("--json", action="store_true", help="for programs")
    why.set_defaults(run=command(LEDGER, "why"))
    simulate = commands.add_parser("simulate", help="what another configuration would have won and earned")
    simulate.add_argument("--since", metavar="WHEN", default="", help="7d, 12h or 2026-11-22T17:00:00Z")
    simulate.add_argument(
        "--config", metavar="FILE", dest="policy", help="the changed configuration (default: the one in use)"
    )
    simulate.add_argument(
        "--inventory",
        choices=("recorded", "now"),
        default="recorded",
        help="with the GPUs that there were, or with those that there are (default: %(default)s)",
    )
    simulate.add_argument("--ledger", metavar="FILE", help="another ledger than the daemon's")
    simulate.add_argument("--orders", action="store_true", help="show each order that comes out otherwise")
    simulate.add_argument("--json", action="store_true", help="for programs")
    simulate.set_defaults(run=command("simulate_actions", "run"))


def _pricing(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    price = commands.add_parser(
        "price", help="what a manifest would cost here, part by part; no daemon needed"
    )
    price.add_argument("file", metavar="FILE", help="SDL; - reads standard input")
    price.add_argument("--group", metavar="NAME", default="", help="one placement of it only")
    price.add_argument(
        "--simulate",
        metavar="MODEL:COUNT",
        action="append",
        default=[],
        help="on these cards, such as h100:2",
    )
    price.add_argument("--json", action="store_true", help="for programs")
    price.set_defaults(run=command("price_command", "show_price"))


def _gpus(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    gpus = commands.add_parser("gpus", help="the GPUs: what they are, how they do, who has them")
    gpus.add_argument("--watch", action="store_true", help="draw it anew every two seconds, until Ctrl-C")
    gpus.add_argument("--json", action="store_true", help="for programs")
    gpus.set_defaults(run=command(GPUS, "gpus"))
    parts = gpus.add_subparsers(metavar="COMMAND")
    which = "index, UUID or the beginning of one"
    health = parts.add_parser("health", help="what holds against a card, how it goes away, and its history")
    health.add_argument("gpu", metavar="GPU", nargs="?", default="", help=f"{which} (default: all)")
    health.add_argument("--json", action="store_true", help="for programs")
    health.set_defaults(run=command(GPUS, "health"))
    cordon = parts.add_parser("cordon", help="sell a card no more; a lease on it runs on")
    cordon.add_argument("gpu", metavar="GPU", help=which)
    cordon.add_argument("--why", metavar="TEXT", default="", help="one line, for its history")
    cordon.set_defaults(run=command(GPUS, "cordon"))
    uncordon = parts.add_parser("uncordon", help="sell it again, and acknowledge what holds against it")
    uncordon.add_argument("gpu", metavar="GPU", help=which)
    uncordon.set_defaults(run=command(GPUS, "uncordon"))


def _steering(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    leave = commands.add_parser("leave", help="leave a market without leases; stop the daemon first")
    leave.add_argument("market", metavar="MARKET", help="as `provider markets` names it")
    leave.set_defaults(run=command(MARKETS, "leave"))
    close = commands.add_parser("close", help="take a lease back, after a notice to its tenant")
    close.add_argument("lease", metavar="LEASE", help="as `provider leases` names it: in full, or its key")
    close.add_argument(
        "--notice", metavar="TIME", default="10m", help="such as 90s, 10m, 2h, 0s (default: %(default)s)"
    )
    close.add_argument("--force", action="store_true", help="sooner than its tenant was promised, if need be")
    close.add_argument("--why", metavar="TEXT", default="", help="one line for the tenant")
    close.set_defaults(run=command(STEERING, "close"))
    reload = commands.add_parser("reload", help="read prices and what is bid on again, while leases run on")
    reload.add_argument("--json", action="store_true", help="for programs")
    reload.set_defaults(run=command(STEERING, "reload"))
    drain = commands.add_parser("drain", help="bid on nothing more; leases run on")
    drain.add_argument("--off", action="store_true", help="bid again")
    drain.set_defaults(run=command(STEERING, "drain"))


def _signing(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    attributes = commands.add_parser("attributes", help="statements of auditors about providers")
    signing = attributes.add_subparsers(metavar="COMMAND", required=True)
    sign = signing.add_parser(
        "sign", help="as an auditor, sign what a provider may claim; prints a statement"
    )
    sign.add_argument("provider", metavar="PROVIDER", help="its name in its market")
    sign.add_argument("attributes", metavar="KEY=VALUE", nargs="+")
    sign.add_argument("--key", metavar="FILE", required=True, help="private key, PEM: P-256 or Ed25519")
    sign.add_argument(
        "--auditor", metavar="NAME", default="", help="as orders name it (default: the key's fingerprint)"
    )
    sign.add_argument("--expires", metavar="INSTANT", help="such as 2027-01-31T00:00:00Z")
    sign.set_defaults(run=command("attribute_commands", "sign"))


def main(argv: Sequence[str] | None = None) -> int:
    """The ``provider`` command."""
    return enter(parser(), argv)


if __name__ == "__main__":
    raise SystemExit(main())
