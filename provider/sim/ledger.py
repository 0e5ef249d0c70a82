"""``ports.Ledger`` in memory: as the real one, without bounds."""

from __future__ import annotations

from dataclasses import replace

from provider.core.ledger import (
    LIVE,
    OPEN,
    Began,
    Decided,
    Fate,
    LedgerQuery,
    Record,
    Story,
    Turned,
    of_held,
)
from provider.domain.ids import OrderId


class MemoryLedger:
    def __init__(self) -> None:
        self.records: list[Record] = []
        self._stories: list[Story] = []

    def keep(self, record: Record) -> None:
        self.records.append(record)
        match record:
            case Decided():
                self._stories.append(Story(decided=record, fate=record.fate))
            case Turned():
                self._turn(record)
            case Began():
                self._begin(record)
            case _:
                pass

    def _turn(self, turned: Turned) -> None:
        for number in reversed(range(len(self._stories))):
            story = self._stories[number]
            if story.decided.order.id == turned.order and story.fate is not Fate.REFUSED:
                late = turned.fate is Fate.SUBMITTED and story.fate is not Fate.DECIDED
                fate = story.fate if late else turned.fate
                self._stories[number] = replace(story, fate=fate, turns=(*story.turns, turned))
                return

    def _begin(self, began: Began) -> None:
        held = {each.order.id: each for each in began.held}
        known = set()
        for number, story in enumerate(self._stories):
            if story.fate in LIVE:
                known.add(story.decided.order.id)
                now = held.get(story.decided.order.id)
                if now is None:
                    self._stories[number] = replace(story, fate=Fate.UNKNOWN)
                elif now.is_lease:
                    self._stories[number] = replace(story, fate=Fate.WON)
        self._stories += [
            Story(decided=of_held(each, began), fate=Fate.WON if each.is_lease else Fate.DECIDED)
            for order, each in held.items()
            if order not in known
        ]

    async def stories(self, query: LedgerQuery) -> tuple[Story, ...]:
        found = [
            story
            for story in reversed(self._stories)
            if (query.since is None or story.decided.at >= query.since)
            and (not query.fates or story.fate in query.fates)
            and (not query.reasons or story.decided.why in query.reasons)
        ]
        return tuple(sorted(found, key=lambda story: story.fate not in OPEN)[: query.limit])

    async def of_order(self, order: OrderId) -> tuple[Story, ...]:
        return tuple(story for story in self._stories if story.decided.order.id == order)
