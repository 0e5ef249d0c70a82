"""``coordinator``: the command of whoever runs a market."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from provider import __version__
from provider.app.cli.entry import command
from provider.app.cli.entry import main as enter

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
    fund = commands.add_parser("fund", help="credit a tenant's account")
    fund.add_argument("tenant")
    fund.add_argument("amount", help="such as 5000000uact")
    fund.set_defaults(run=command(COMMANDS, "fund"))
    status = commands.add_parser("status", help="members, accounts, orders and leases")
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(run=command(COMMANDS, "status"))
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """The ``coordinator`` command."""
    return enter(parser(), argv)


if __name__ == "__main__":
    raise SystemExit(main())
