"""The daemon: its link to the market, what it holds on disk, and whether it bids."""

from __future__ import annotations

from provider.adapters.telemetry.rows.sample import Group, Rows
from provider.adapters.telemetry.table import daemon as table
from provider.adapters.telemetry.table import runtime
from provider.adapters.telemetry.view import BLOCKS, LINK_STATES, Held, LinkFacts, MarketView, Snapshot


def daemon(snapshot: Snapshot) -> Group:
    """Counters beside these are ``metrics``'s."""
    view = snapshot.view
    return Group(
        metrics=(
            *(table.COORDINATOR_CONNECTED, table.NODE_BIDDING, table.BIDDING_BLOCKED),
            *(table.CONNECTION_STATE, table.LAST_MESSAGE),
            *(table.STORE_SIZE, table.TASKS, runtime.IMAGE_CACHE),
        ),
        tell=_daemon,
        parts=[("", (view.markets, view.blocked, snapshot.links, snapshot.held, snapshot.tasks))],
    )


def _daemon(
    markets: tuple[MarketView, ...],
    blocked: tuple[str, ...],
    links: tuple[LinkFacts, ...],
    held: Held,
    tasks: int | None,
) -> Rows:
    yield table.COORDINATOR_CONNECTED, [((each.name,), float(each.is_connected)) for each in markets]
    yield table.NODE_BIDDING, [((), float(not blocked))]
    yield table.BIDDING_BLOCKED, [((reason,), float(reason in blocked)) for reason in BLOCKS]
    yield (
        table.CONNECTION_STATE,
        [((link.market, state), float(link.state == state)) for link in links for state in LINK_STATES],
    )
    yield (
        table.LAST_MESSAGE,
        [((link.market,), None if link.last_message is None else link.last_message / 1000) for link in links],
    )
    yield table.STORE_SIZE, [((), held.store_bytes)]
    yield table.TASKS, [((), tasks)]
    yield runtime.IMAGE_CACHE, [((), held.image_bytes)]
