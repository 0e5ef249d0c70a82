"""The coordinator's messages as the agent's events."""

from __future__ import annotations

from provider.core.events import LeaseAwarded, LeaseEnded, LeaseUpdated, OrderClosed, OrderOpened
from provider.core.markets import MarketEvent
from provider.rpc.codec import lease_id_from_pb, order_id_from_pb, rate_from_pb
from provider.rpc.codec_market import award_from_pb, order_from_pb, reason_from_pb, update_from_pb
from provider.rpc.fields import at_least, present
from provider.rpc.v1.market_pb2 import Change, SessionResponse


def event_from_pb(wire: SessionResponse | Change) -> MarketEvent | None:
    """The event that ``wire`` carries; None for control messages and those of a newer market.

    ``PeerError`` with the field's path where it cannot be.
    """
    match wire.WhichOneof("body"):
        case "order_opened":
            path = present(wire.order_opened, "order", "order_opened")
            return OrderOpened(order=order_from_pb(wire.order_opened.order, path), version=_version(wire))
        case "order_closed":
            path = present(wire.order_closed, "order", "order_closed")
            closed = wire.order_closed
            won_at = rate_from_pb(closed.won_at, "order_closed.won_at") if closed.HasField("won_at") else None
            return OrderClosed(
                order=order_id_from_pb(closed.order, path), version=_version(wire), won_at=won_at
            )
        case "lease_awarded":
            return LeaseAwarded(award=award_from_pb(wire.lease_awarded), version=_version(wire))
        case "lease_updated":
            lease, manifest_hash = update_from_pb(wire.lease_updated)
            return LeaseUpdated(lease=lease, manifest_hash=manifest_hash, version=_version(wire))
        case "lease_ended":
            path = present(wire.lease_ended, "lease", "lease_ended")
            return LeaseEnded(
                lease=lease_id_from_pb(wire.lease_ended.lease, path),
                reason=reason_from_pb(wire.lease_ended.reason, "lease_ended.reason"),
                version=_version(wire),
            )
        case _:
            return None


def _version(wire: SessionResponse | Change) -> int:
    return at_least(wire.version, 1, "version")
