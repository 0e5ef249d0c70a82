"""The market's decisions, pure: a request, an instant and the book give a new book and a reply.

``transition`` is the only way in. It is total (every request is carried out or denied), deterministic, and
reads no clock: instants, secrets' digests and keys come with the request. Whoever drives it commits a step's
rows in one transaction before anybody hears of the reply.

Read next: ``requests.py`` (all that can be asked), ``bidding.py`` and ``leases.py`` (the rules).
"""

from __future__ import annotations

from provider.coordinator.market.draft import Rules, Step
from provider.coordinator.market.transition import transition

__all__ = ["Rules", "Step", "transition"]
