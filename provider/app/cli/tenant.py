"""``tenant``: the buyer's command, from a manifest to a running service and its bill."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from provider import __version__
from provider.app.cli import manifest_commands
from provider.app.cli.entry import command
from provider.app.cli.entry import main as enter

COMMANDS = "tenant_commands"
ACCESS = "tenant_access"
USAGE = "usage_commands"


def parser() -> argparse.ArgumentParser:
    """Every subcommand and its options."""
    top = argparse.ArgumentParser(prog="tenant", description="Run containers on rented GPUs.")
    top.add_argument("--version", action="version", version=f"tenant {__version__}")
    top.add_argument(
        "--home", metavar="DIR", help="identity and manifests (default: $TENANT_HOME or ~/.tenant)"
    )
    top.add_argument("--verbose", action="store_true", help="say how a provider is reached")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    enroll = commands.add_parser("enroll", help="join a market with a token of its owner")
    enroll.add_argument(
        "token",
        metavar="TOKEN",
        help="what `coordinator invite tenant NAME` printed; - reads it from standard input",
    )
    enroll.set_defaults(run=command(COMMANDS, "enroll"))
    balance = commands.add_parser("balance", help="what is free to spend and what is in escrow")
    balance.add_argument("--json", action="store_true", help="for programs")
    balance.set_defaults(run=command(COMMANDS, "balance"))
    _deploying(commands)
    _running(commands)
    _naming(commands)
    manifest_commands.register(commands)
    return top


def _naming(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    migrate = commands.add_parser("migrate-hostnames", help="move host names to another deployment")
    migrate.add_argument("source", metavar="FROM", type=int, help="the deployment that has them")
    migrate.add_argument("target", metavar="TO", type=int, help="the one that accepts them too")
    migrate.add_argument("hostnames", metavar="NAME", nargs="+")
    migrate.add_argument("--provider", metavar="NAME", help="where both have leases at several")
    migrate.set_defaults(run=command("hostname_actions", "migrate"))


def _deploying(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    deploy = commands.add_parser("deploy", help="put a deployment on the market")
    deploy.add_argument("file", metavar="FILE", help="SDL")
    deploy.add_argument(
        "--deposit", metavar="AMOUNT", default="5000000uact", help="into escrow (default: %(default)s)"
    )
    _reading(deploy)
    deploy.add_argument("--json", action="store_true", help="for programs")
    deploy.set_defaults(run=command(COMMANDS, "deploy"))
    screen = commands.add_parser("screen", help="ask providers whether they would bid, and at what price")
    screen.add_argument("file", metavar="FILE", help="SDL")
    screen.add_argument(
        "--provider",
        metavar="NAME@HOST:PORT",
        action="append",
        required=True,
        help="whom to ask; more than once",
    )
    _reading(screen)
    screen.add_argument("--json", action="store_true", help="for programs")
    screen.set_defaults(run=command("screen_actions", "screen"))
    bids = commands.add_parser("bids", help="the bids on a deployment, cheapest first")
    bids.add_argument("dseq", type=int)
    bids.add_argument("--wait", metavar="SECONDS", type=float, default=0, help="for the first one")
    bids.add_argument("--json", action="store_true", help="for programs")
    bids.set_defaults(run=command(COMMANDS, "bids"))
    accept = commands.add_parser("accept", help="accept a bid, send the manifest, wait until it runs")
    accept.add_argument("dseq", type=int)
    accept.add_argument("--provider", metavar="NAME", help="whose bid (default: the cheapest)")
    accept.add_argument(
        "--wait", metavar="SECONDS", type=float, default=600, help="until it runs (default: %(default)s)"
    )
    accept.set_defaults(run=command(COMMANDS, "accept"))
    update = commands.add_parser("update", help="run another manifest in the leases that there are")
    update.add_argument("dseq", type=int)
    update.add_argument("file", metavar="FILE", help="SDL, with the resources and prices that were ordered")
    _reading(update)
    update.add_argument(
        "--wait", metavar="SECONDS", type=float, default=600, help="until it runs (default: %(default)s)"
    )
    update.set_defaults(run=command(COMMANDS, "update"))
    close = commands.add_parser("close", help="end a deployment and get back what is left")
    close.add_argument("dseq", type=int)
    close.add_argument(
        "--wait", metavar="SECONDS", type=float, default=90, help="until it is settled (default: %(default)s)"
    )
    close.set_defaults(run=command(COMMANDS, "close"))


def _reading(command_: argparse.ArgumentParser) -> None:
    """How a file is read that is to run."""
    command_.add_argument(
        "--image",
        metavar="SERVICE=IMAGE",
        action="append",
        default=[],
        help="run another image than the file says",
    )
    manifest_commands.add_reading_options(command_)


def _running(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    status = commands.add_parser("status", help="deployments, or one of them in full")
    status.add_argument("dseq", type=int, nargs="?")
    status.add_argument("--all", action="store_true", help="closed ones too")
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(run=command(COMMANDS, "status"))
    _looking(commands)
    execute = commands.add_parser("exec", help="run a command in a container")
    execute.add_argument("-i", "--interactive", action="store_true", help="pass standard input on")
    execute.add_argument("-t", "--tty", action="store_true", help="with a terminal, for a shell: -it")
    execute.add_argument("dseq", type=int)
    execute.add_argument("service", metavar="SERVICE[/REPLICA]")
    execute.add_argument("argv", metavar="COMMAND", nargs=argparse.REMAINDER)
    execute.set_defaults(run=command(ACCESS, "execute"))
    copy = commands.add_parser("cp", help="copy files between this machine and a container")
    copy.add_argument("source", metavar="SRC", help="DSEQ/SERVICE[/REPLICA]:/PATH, a path, or - for a tar")
    copy.add_argument("target", metavar="DST", help="the same; one of the two is in a container")
    copy.set_defaults(run=command(ACCESS, "copy"))
    restart = commands.add_parser("restart", help="stop and start a service; its volumes and ports stay")
    restart.add_argument("dseq", type=int)
    restart.add_argument("service")
    restart.add_argument(
        "--wait", metavar="SECONDS", type=float, default=60, help="until it is ready (default: %(default)s)"
    )
    restart.set_defaults(run=command(ACCESS, "restart"))


def _looking(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    logs = commands.add_parser("logs", help="what the containers print")
    logs.add_argument("dseq", type=int)
    logs.add_argument("service", metavar="SERVICE[/REPLICA]", nargs="?", default="")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the lease ends")
    logs.add_argument("-t", "--timestamps", action="store_true", help="say when each line was written")
    logs.add_argument("-n", "--tail", metavar="LINES", default="all", help="of each replica, from the end")
    logs.add_argument("--since", metavar="WHEN", default="", help="10m, 1h30m, or 2026-11-22T17:00:00Z")
    logs.set_defaults(run=command(ACCESS, "logs"))
    events = commands.add_parser("events", help="what happened to a lease: pulls, starts, exits, notices")
    events.add_argument("dseq", type=int)
    events.add_argument("-f", "--follow", action="store_true", help="go on until the lease ends")
    events.add_argument("--json", action="store_true", help="for programs, one a line")
    events.set_defaults(run=command(ACCESS, "events"))
    usage = commands.add_parser("usage", help="what a deployment uses: GPUs, CPU, memory, network, disks")
    usage.add_argument("dseq", type=int)
    usage.add_argument("--watch", action="store_true", help="go on, with rates, until the lease ends")
    usage.add_argument("--json", action="store_true", help="for programs; with --watch a line each time")
    usage.set_defaults(run=command(USAGE, "usage"))


def main(argv: Sequence[str] | None = None) -> int:
    """The ``tenant`` command."""
    return enter(parser(), argv)


if __name__ == "__main__":
    raise SystemExit(main())
