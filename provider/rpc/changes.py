"""Changes of a market that wait together travel together: reading a message takes as long as a decision.

Owns how many go in one message. Does not own which may: an agent says in its hello whether it takes them so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from provider.rpc.settings import CHANGES_BYTES, CHANGES_MOST
from provider.rpc.v1.market_pb2 import Change, Changes

Body = dict[str, Any]
"""The version and the one field of a SessionResponse, which Change has by the same names."""


def together(bodies: Iterator[Body]) -> Body | None:
    """As many of ``bodies`` as one message may have, taken off them in their order; None for none."""
    first, second = next(bodies, None), next(bodies, None)
    if first is None or second is None:
        return first
    changes = [Change(**first), Change(**second)]
    size = sum(each.ByteSize() for each in changes)
    while len(changes) < CHANGES_MOST and size < CHANGES_BYTES and (body := next(bodies, None)) is not None:
        changes.append(Change(**body))
        size += changes[-1].ByteSize()
    return {"changes": Changes(changes=changes)}
