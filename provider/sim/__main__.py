"""``python -m provider.sim --seed 1 --runs 1000``: so many simulated worlds, one after the other.

The first promise that is not kept ends it with status 1 and the line that shows it again.
"""

from __future__ import annotations

import argparse
import sys

from provider.sim.checkers import Broken
from provider.sim.world import Size, World


def _size(arguments: argparse.Namespace) -> Size | None:
    """None for whatever the seed gives."""
    told = (arguments.markets, arguments.agents, arguments.tenants)
    if not any(told):
        return None
    markets, agents, tenants = (number or usual for number, usual in zip(told, (2, 2, 8), strict=True))
    return Size(markets=markets, agents=agents, tenants=tenants)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m provider.sim", description="Simulated markets.")
    parser.add_argument("--seed", type=int, default=1, help="of the first world")
    parser.add_argument("--runs", type=int, default=1, help="how many worlds, each with the next seed")
    for name in ("markets", "agents", "tenants"):
        parser.add_argument(f"--{name}", type=int, default=0, help=f"so many {name}; by chance unless told")
    arguments = parser.parse_args()
    turns = leases = 0
    outcome = None
    for seed in range(arguments.seed, arguments.seed + arguments.runs):
        try:
            outcome = World(seed, _size(arguments)).run()
        except Broken as broken:
            sys.stdout.write("\n".join((str(broken), *broken.__notes__, "")))
            return 1
        turns, leases = turns + outcome.turns, leases + outcome.leases
    if outcome is not None and arguments.runs == 1:
        for disaster in outcome.disasters:
            seconds = disaster.after / 1000
            sys.stdout.write(
                f"{seconds:8.1f} s  {disaster.fault} (agent {disaster.agent}, {disaster.lasts} ms)\n"
            )
        sys.stdout.write(f"trace {outcome.trace}\n")
    sys.stdout.write(f"{arguments.runs} worlds, {leases} leases, {turns} turns: every promise was kept\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
