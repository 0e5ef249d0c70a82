"""The daemon: its link to the market, what it holds on disk, and whether it bids."""

from __future__ import annotations

from provider.adapters.telemetry import table
from provider.adapters.telemetry.rows.sample import Rows
from provider.adapters.telemetry.view import BLOCKS, LINK_STATES, Snapshot


def daemon(snapshot: Snapshot) -> Rows:
    """Counters beside these are ``metrics``'s."""
    view, links = snapshot.view, snapshot.links
    yield (
        table.daemon.COORDINATOR_CONNECTED,
        [((each.name,), float(each.is_connected)) for each in view.markets],
    )
    yield table.daemon.NODE_BIDDING, [((), float(not view.blocked))]
    yield (
        table.daemon.BIDDING_BLOCKED,
        [((reason,), float(reason in view.blocked)) for reason in BLOCKS],
    )
    yield (
        table.daemon.CONNECTION_STATE,
        [((link.market, state), float(link.state == state)) for link in links for state in LINK_STATES],
    )
    yield (
        table.daemon.LAST_MESSAGE,
        [((link.market,), None if link.last_message is None else link.last_message / 1000) for link in links],
    )
    yield table.daemon.STORE_SIZE, [((), snapshot.held.store_bytes)]
    yield table.daemon.TASKS, [((), snapshot.tasks)]
    yield table.runtime.IMAGE_CACHE, [((), snapshot.held.image_bytes)]
