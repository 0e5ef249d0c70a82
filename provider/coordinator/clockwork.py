"""What happens because time passes: overdue words, spent escrow, old answers, certificates.

Owns when to look. Does not own what is overdue: ``market.deployments`` says so, and a look too many changes
nothing. Due times are known the moment that a step is committed; nothing is polled.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable

from provider.coordinator.book import Book
from provider.coordinator.market.deployments import due_at
from provider.coordinator.market.requests import ForgetAnswers, TimePassed
from provider.coordinator.rows import BidRow, DeploymentRow, LeaseRow, OrderRow, Row
from provider.coordinator.writer import Clock, Writer
from provider.domain.errors import Temporary
from provider.domain.ids import DeploymentId
from provider.domain.moment import HOUR, SECOND, Instant, after
from provider.rpc.identity import Identity, LiveIdentity

RETRY = SECOND
"""After the writer had no time, or the disk no room."""


class Clockwork:
    """Wakes the market. ``due`` is called after every commit, ``run`` runs in a task."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock
        self._heap: list[tuple[Instant, DeploymentId]] = []
        self._due: dict[DeploymentId, Instant] = {}
        self._sooner = asyncio.Event()

    def watch(self, book: Book, deployments: Iterable[DeploymentId]) -> None:
        """Something of these has changed."""
        for deployment in deployments:
            due = due_at(book, deployment)
            if due is None:
                self._due.pop(deployment, None)
            elif self._due.get(deployment) != due:
                if not self._heap or due < self._heap[0][0]:
                    self._sooner.set()
                self._due[deployment] = due
                heapq.heappush(self._heap, (due, deployment))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._until_next()
            at = self._clock.now()
            overdue = set()
            while self._heap and self._heap[0][0] <= at:
                due, deployment = heapq.heappop(self._heap)
                if self._due.get(deployment) == due:
                    overdue.add(deployment)
            for deployment in sorted(overdue):
                self._due.pop(deployment)
                await self._look(deployment)

    async def _look(self, deployment: DeploymentId) -> None:
        try:
            await self._writer.ask(TimePassed(deployment=deployment))
        except Temporary:
            later = after(self._clock.now(), RETRY)
            self._due[deployment] = later
            heapq.heappush(self._heap, (later, deployment))
            return
        # Nothing may have changed, and then no commit says when to look again.
        self.watch(self._writer.book, [deployment])

    async def _until_next(self) -> None:
        """Until the earliest due time, however that moves."""
        while True:
            self._sooner.clear()
            if not self._heap:
                await self._sooner.wait()
                continue
            if self._heap[0][0] <= self._clock.now():
                return
            async with asyncio.TaskGroup() as tasks:
                sleep = tasks.create_task(self._clock.sleep_until(self._heap[0][0]))
                sooner = tasks.create_task(self._sooner.wait())
                await asyncio.wait((sleep, sooner), return_when=asyncio.FIRST_COMPLETED)
                sleep.cancel()
                sooner.cancel()


async def forget_answers(writer: Writer, clock: Clock) -> None:
    """Once an hour, until cancelled."""
    while True:
        await clock.sleep_until(after(clock.now(), HOUR))
        try:
            await writer.ask(ForgetAnswers())
        except Temporary:
            continue


async def renew(live: LiveIdentity, make: Callable[[Instant], Identity], clock: Clock) -> None:
    """Replace the coordinator's own certificate two thirds into its life, until cancelled."""
    while True:
        await clock.sleep_until(live.now.renew_at)
        if clock.now() >= live.now.renew_at:  # else it was set back meanwhile
            live.now = make(clock.now())


def touched(rows: Iterable[Row]) -> frozenset[DeploymentId]:
    """Deployments whose state, bids, leases or money ``rows`` change."""
    return frozenset(found for row in rows if (found := _deployment_of(row)) is not None)


def _deployment_of(row: Row) -> DeploymentId | None:
    match row:
        case DeploymentRow():
            return row.id
        case OrderRow():
            return row.order.id.deployment
        case BidRow():
            return row.bid.id.deployment
        case LeaseRow():
            return row.id.deployment
        case _:
            return None  # money moves only together with one of these
