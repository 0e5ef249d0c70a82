"""The engine's event stream, as hints that a list is worth making.

Events are never read for what they say: the engine keeps 256 of them and none over a restart. So a
hint comes after every (re)connection too, and whoever gets one lists.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from provider.adapters.runtime import naming
from provider.adapters.runtime.engine import Engine, accepted
from provider.adapters.runtime.looks import Looks
from provider.adapters.runtime.wire import Request
from provider.domain.errors import ProviderError
from provider.domain.moment import Span, after
from provider.ports import Clock

PAUSES = (Span(200), Span(500), Span(1_000), Span(2_000), Span(5_000))
"""Between attempts to connect; the last one repeats."""
WATCHED = ("create", "start", "die", "oom", "destroy")


async def changes(engine: Engine, clock: Clock, looks: Looks) -> AsyncIterator[None]:
    """One item for each connection and each event of our containers; never ends by itself.

    What is known of a container ends with its event: the engine's own list may still show it as it was.
    """
    filters = {
        "type": ["container"],
        "event": list(WATCHED),
        "label": [f"{naming.PROVIDER}={engine.settings.provider}"],
    }
    request = Request(method="GET", path="/events", query={"filters": json.dumps(filters)})
    failures = 0
    while True:
        try:
            async with engine.stream("watching the engine", request) as answer:
                await accepted(answer, "watching the engine")
                failures = 0
                looks.refresh()
                yield
                async for told in answer.objects():
                    looks.refresh(str(told.get("id", "")))
                    yield
        except ProviderError:
            pass  # it is away; the caller learns that from whatever it asks next
        pause = PAUSES[min(failures, len(PAUSES) - 1)]
        failures += 1
        await clock.sleep_until(after(clock.now(), pause))
