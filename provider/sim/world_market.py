"""The market in a simulated world: the coordinator's own decisions, with lines to agents that can be cut.

Owns the book, the lines and what falls due. All decisions are ``coordinator.market``'s and all notices
``coordinator.market.notices``'; this only carries them, as the server does, with the weather in between.
Invariant: a line delivers in the market's order, or is cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from provider.coordinator import market
from provider.coordinator.book import Book
from provider.coordinator.clockwork import touched
from provider.coordinator.market.deployments import due_at
from provider.coordinator.market.notices import Notice, notice
from provider.coordinator.market.requests import Hello, Reply, Request, Resumed, TimePassed, Welcomed
from provider.coordinator.record import RecordEntry
from provider.coordinator.rows import BidRow, LeaseRow, LeaseUnknown, OrderRow, Row
from provider.coordinator.sessions import Feed
from provider.domain.ids import HOME, DeploymentId, MarketId, ProviderId
from provider.domain.moment import SECOND, Instant
from provider.sim.agenda import Agenda
from provider.sim.faults import Chance

NAME = "world"


class Line:
    """One session of an agent, as long as it lasts."""

    def __init__(self, agenda: Agenda, chance: Chance, deliver: Callable[[Notice], None]) -> None:
        self.is_cut = False
        self._agenda = agenda
        self._chance = chance
        self._deliver = deliver
        self._free_at = agenda.at

    def send(self, told: Notice) -> None:
        for _ in range(2 if self._chance.doubles() else 1):
            due = max(self._free_at, self._agenda.at + self._chance.delay())
            self._free_at = Instant(due + 1)
            self._agenda.later(due - self._agenda.at, "notice", partial(self._arrive, told))

    def _arrive(self, told: Notice) -> None:
        if not self.is_cut:
            self._deliver(told)


class WorldMarket:
    """``ask`` it anything; it answers None while it is down."""

    def __init__(self, agenda: Agenda, chance: Chance, market: MarketId = HOME) -> None:
        self.id = market
        """As the agents name it."""
        self.book = Book(market=market or NAME, salt=b"salt")
        self.records: list[RecordEntry] = []
        self.is_up = True
        self.watch: Callable[[Book, Book], None] = lambda _before, _after: None
        """Called after every step."""
        self._agenda = agenda
        self._chance = chance
        self._feed = Feed(self.book)
        self._lines: dict[ProviderId, Line] = {}
        self._due: dict[DeploymentId, Instant] = {}

    def ask(self, request: Request) -> Reply | None:
        """The reply, with what it changed committed."""
        if not self.is_up:
            return None
        before = self.book
        step = market.transition(before, request, self._agenda.at)
        self.book = step.book
        self.records += [row for row in step.rows if isinstance(row, RecordEntry)]
        kinds = f"{type(request).__name__} {type(step.reply).__name__}"
        self._agenda.note(f"market {self.id} {kinds} {self.book.version}")
        self._publish(before, step.rows)
        for deployment in sorted(touched(step.rows)):
            self._watch_time(deployment)
        self.watch(before, self.book)
        return step.reply

    def connect(
        self, provider: ProviderId, since: tuple[str, int], deliver: Callable[[Notice], None]
    ) -> tuple[int, Line] | None:
        """A session for an agent that knows ``since`` (market, version): its epoch and line; None if down."""
        name, version = since
        hello = Hello(
            provider=provider, instance="i", market=name, last_version=version, lease_address="", software=""
        )
        reply = self.ask(hello)
        if reply is None:
            return None
        assert isinstance(reply, Welcomed), f"an agent of this market is welcome: {reply}"
        older = self._lines.get(provider)
        if older is not None:
            older.is_cut = True
        line = self._lines[provider] = Line(self._agenda, self._chance, deliver)
        for row in self._feed.since(version):
            self._tell(provider, line, row, version)
        return reply.epoch, line

    def restart(self, lasts: int) -> None:
        """It goes down for ``lasts`` milliseconds; all lines are cut."""
        if not self.is_up:
            return
        self.is_up = False
        for line in self._lines.values():
            line.is_cut = True
        self._lines.clear()
        self._agenda.later(lasts, "market starts", self.start)

    def start(self) -> None:
        if not self.is_up:
            self.is_up = True
            self._feed = Feed(self.book)
            self.ask(Resumed())

    def _publish(self, before: Book, rows: tuple[Row, ...]) -> None:
        visible = (row for row in rows if isinstance(row, OrderRow | BidRow | LeaseRow | LeaseUnknown))
        for row in self._feed.add(visible):
            if row.version <= before.version:
                continue
            for provider, line in sorted(self._lines.items()):
                self._tell(provider, line, row, before.version)

    def _tell(
        self, provider: ProviderId, line: Line, row: OrderRow | BidRow | LeaseRow | LeaseUnknown, since: int
    ) -> None:
        told = notice(self.book, row, provider, since=since)
        if told is not None:
            line.send(told)

    def _watch_time(self, deployment: DeploymentId) -> None:
        due = due_at(self.book, deployment)
        if due is None:
            self._due.pop(deployment, None)
        elif self._due.get(deployment) != due:
            self._due[deployment] = due
            self._agenda.later(due - self._agenda.at, "due", partial(self._look, deployment, due))

    def _look(self, deployment: DeploymentId, due: Instant) -> None:
        if self._due.get(deployment) != due:
            return
        if not self.is_up:
            self._agenda.later(SECOND, "due", partial(self._look, deployment, due))
            return
        del self._due[deployment]
        self.ask(TimePassed(deployment=deployment))
        self._watch_time(deployment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What everybody in one market of a world shares."""

    agenda: Agenda
    chance: Chance
    market: WorldMarket
