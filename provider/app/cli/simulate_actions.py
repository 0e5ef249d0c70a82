"""``provider simulate``: what another configuration would have come to, beside what really happened."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path

from provider.adapters.clock import SystemClock
from provider.app import logs, render
from provider.app.cli.entry import DONE
from provider.app.cli.provider_commands import config
from provider.app.cli.targets import since_ns
from provider.app.config_reading import load
from provider.app.engine_settings import LEDGER_FILE
from provider.app.simulating import Simulation, simulate
from provider.core.comparing import Outcome, Totals, totals
from provider.domain.moment import Instant, rfc3339
from provider.domain.money import Denom

NOT_KNOWN = "not known"


def run(args: argparse.Namespace) -> int:
    """Reads the ledger's file; neither the daemon nor a market is asked."""
    logs.configure("error")
    usual = config(args)
    changed = load(Path(args.policy), os.environ) if args.policy else usual
    ledger = Path(args.ledger) if args.ledger else usual.state_dir / LEDGER_FILE
    since = None
    if args.since:
        since = Instant(max(since_ns(args.since, SystemClock().now()), 0) // 1_000_000)
    made = simulate(ledger, changed, since, now=args.inventory == "now")
    if args.json:
        print(json.dumps(_as_dict(made), indent=2))
    else:
        _show(made, Path(args.policy).name if args.policy else "the same settings", orders=args.orders)
    return DONE


def _show(made: Simulation, name: str, *, orders: bool) -> None:
    out = render.console()
    there_was = "what there is now" if made.is_now else "what there was"
    out.print(f"{rfc3339(made.since)[:19]}Z to {rfc3339(made.until)[:19]}Z, with {there_was}\n")
    really, simulated = totals(made.really), totals(made.simulated)
    rows = [(name_, *_pair(left, right)) for name_, left, right in _lines(really, simulated)]
    out.print(render.table(("", "REALLY", f"WITH {name}"), rows))
    if orders:
        out.print()
        _show_orders(made)
    for caveat in _caveats(made, simulated):
        out.print(f"\n{caveat}")


def _pair(left: str, right: str) -> tuple[str, str]:
    return left, right if left == right else f"[bold]{right}[/bold]"


def _lines(really: Totals, simulated: Totals) -> Iterator[tuple[str, str, str]]:
    def both(name: str, pick: str) -> tuple[str, str, str]:
        return name, str(getattr(really, pick)), str(getattr(simulated, pick))

    yield both("orders", "orders")
    yield both("refused", "refused")
    for reason in dict.fromkeys([*really.reasons, *simulated.reasons]):
        left, right = really.reasons.get(reason, 0), simulated.reasons.get(reason, 0)
        yield f"  {reason.replace('_', ' ')}", str(left), str(right)
    yield both("bid on", "bids")
    yield both("  won", "won")
    yield both("  lost", "lost")
    yield both("  still open", "still_open")
    yield both(f"  {NOT_KNOWN}", "unknown")
    for denom in sorted({*really.earned, *simulated.earned}):
        sums = _amount(really.earned, denom), _amount(simulated.earned, denom)
        yield f"earned {render.currency(denom)}", *sums


def _amount(earned: Mapping[Denom, int], denom: Denom) -> str:
    return f"{Decimal(earned.get(denom, 0)).scaleb(-6):,.6f}"


def _caveats(made: Simulation, simulated: Totals) -> Iterator[str]:
    """What cannot be known, and so is not in the figures."""
    if simulated.unknown:
        worth = ", ".join(
            f"{amount.scaleb(-6):,.4f} {render.currency(denom)}/h"
            for denom, amount in sorted(simulated.unknown_hour.items())
        )
        yield (
            f"{simulated.unknown} bid(s) were never made, or not so cheap or so dear: whether they win is"
            f" {NOT_KNOWN}.\nThey hold nothing and earn nothing here; all of them together ask {worth}."
        )
    yield (
        "A bid that won wins at its price or a lower one, and its lease runs as long as it did; one that was"
        " lost\nis lost at its price or a higher one. Where the market told at which price an order went, a"
        " cheaper bid\nwould have won it, nobody knows for how long. Only leases that ended count as earned."
    )
    if made.strategy.is_asked:
        yield f"Prices are those that the {made.strategy} gave then: it was not asked what it says now."
    if made.not_asked:
        yield (
            f"{made.not_asked} order(s) had no price of the {made.strategy} then, and what it would have said"
            f" is {NOT_KNOWN}:\nthey count as refused, as price not given."
        )
    if made.restarts:
        yield f"The daemon began {made.restarts} time(s) meanwhile: orders of just then may be missing."
    if made.changes:
        yield f"The settings were changed {made.changes} time(s) meanwhile: what was real is under several."


def _show_orders(made: Simulation) -> None:
    rows = [(str(order), _words(left), _words(right)) for order, left, right in _changed(made)]
    if rows:
        render.console().print(render.table(("ORDER", "REALLY", "SIMULATED"), rows))
    else:
        render.console().print("no order comes out otherwise")


def _changed(made: Simulation) -> Iterator[tuple[object, Outcome | None, Outcome | None]]:
    orders = dict.fromkeys([*made.really.outcomes, *made.simulated.outcomes])
    for order in orders:
        left, right = made.really.outcomes.get(order), made.simulated.outcomes.get(order)
        if _words(left) != _words(right):
            yield order, left, right


def _words(outcome: Outcome | None) -> str:
    if outcome is None:
        return "-"
    if outcome.refused is not None:
        return str(outcome.refused)
    assert outcome.rate is not None, "a bid has a price"
    per_hour = f"{outcome.rate.per_hour().scaleb(-6):,.4f} {render.currency(outcome.rate.denom)}/h"
    return f"{outcome.fate} at {per_hour}"


def _as_dict(made: Simulation) -> dict[str, object]:
    return {
        "since_ms": made.since,
        "until_ms": made.until,
        "inventory": "now" if made.is_now else "recorded",
        "restarts": made.restarts,
        "settings_changed": made.changes,
        "prices": "recorded" if made.strategy.is_asked else "made",
        "not_asked": made.not_asked,
        "really": _side(totals(made.really)),
        "simulated": _side(totals(made.simulated)),
        "changed_orders": [
            {"order": str(order), "really": _outcome(left), "simulated": _outcome(right)}
            for order, left, right in _changed(made)
        ],
    }


def _side(side: Totals) -> dict[str, object]:
    return {
        "orders": side.orders,
        "refused": side.refused,
        "reasons": dict(side.reasons),
        "bid_on": side.bids,
        "won": side.won,
        "lost": side.lost,
        "still_open": side.still_open,
        "unknown": side.unknown,
        "earned_micros": {str(denom): amount for denom, amount in sorted(side.earned.items())},
        "unknown_micros_hour": {
            str(denom): str(round(amount)) for denom, amount in sorted(side.unknown_hour.items())
        },
    }


def _outcome(outcome: Outcome | None) -> dict[str, object] | None:
    if outcome is None:
        return None
    if outcome.refused is not None:
        refused = outcome.refused
        return {"reason": refused.why, "required": refused.required, "available": refused.available}
    rate = f"{outcome.rate.amount.normalize():f}{outcome.rate.denom}" if outcome.rate else None
    return {"outcome": outcome.fate, "rate": rate}
