"""``coordinator``: the command of whoever runs a market."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from provider import __version__
from provider.app.cli.entry import command
from provider.app.cli.entry import main as enter
from provider.app.cli.manifest_commands import add_reading_options

COMMANDS = "coordinator_commands"
DEFAULT_STATE = "/var/lib/coordinator"


def parser() -> argparse.ArgumentParser:
    """Every subcommand and its options."""
    top = argparse.ArgumentParser(prog="coordinator", description="Run a compute market.")
    top.add_argument("--version", action="version", version=f"coordinator {__version__}")
    top.add_argument("--state", metavar="DIR", default=DEFAULT_STATE, help=f"default: {DEFAULT_STATE}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    run = commands.add_parser("run", help="run the market until SIGTERM")
    run.add_argument("--market", metavar="NAME", help="name of a new market (a-z, 0-9, '-'; default: market)")
    run.add_argument(
        "--listen", metavar="HOST:PORT", default="0.0.0.0:7443", help="for members (default: %(default)s)"
    )
    run.add_argument(
        "--enrolment-listen",
        metavar="HOST:PORT",
        default="0.0.0.0:7444",
        help="for new members (default: %(default)s)",
    )
    run.add_argument(
        "--advertise",
        metavar="HOST",
        help="name or address that goes into join tokens (default: this machine's name)",
    )
    run.add_argument(
        "--bid-deposit",
        metavar="MICROS",
        type=int,
        default=0,
        help="held of a provider for each bid until it is over, micro-denom (default: %(default)s)",
    )
    run.set_defaults(run=command(COMMANDS, "run"))
    invite = commands.add_parser("invite", help="make a join token for a new member")
    invite.add_argument("role", choices=("provider", "tenant"))
    invite.add_argument("name", help="the member's name: a-z, 0-9 and '-'")
    invite.add_argument(
        "--ttl",
        metavar="MINUTES",
        type=int,
        default=60,
        help="how long it is good for (default: %(default)s)",
    )
    invite.set_defaults(run=command(COMMANDS, "invite"))
    _funding(commands)
    _screening(commands)
    status = commands.add_parser("status", help="members, accounts, orders and leases")
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(run=command(COMMANDS, "status"))
    return top


def _funding(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    fund = commands.add_parser("fund", help="credit a member's account")
    fund.add_argument("name", help="of the tenant")
    fund.add_argument("--provider", action="store_true", help="of the provider, rather: for deposits of bids")
    fund.add_argument("amount", help="such as 5000000uact")
    fund.set_defaults(run=command(COMMANDS, "fund"))


def _screening(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    screen = commands.add_parser("screen", help="ask providers whether they would bid, and at what price")
    screen.add_argument("file", metavar="FILE", help="SDL; - reads standard input")
    screen.add_argument(
        "--provider",
        metavar="NAME",
        action="append",
        default=[],
        help="whom to ask; more than once (default: all)",
    )
    screen.add_argument("--owner", metavar="TENANT", default="", help="whose order it would be")
    screen.add_argument(
        "--wait", metavar="SECONDS", type=float, default=5, help="for answers (default: %(default)s)"
    )
    add_reading_options(screen)
    screen.add_argument("--json", action="store_true", help="for programs")
    screen.set_defaults(run=command("screen_actions", "screen_members"))


def main(argv: Sequence[str] | None = None) -> int:
    """The ``coordinator`` command."""
    return enter(parser(), argv)


if __name__ == "__main__":
    raise SystemExit(main())
