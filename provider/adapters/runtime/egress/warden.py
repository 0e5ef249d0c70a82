"""Sees to it that the rules and limits in the kernel are those that the leases need, and says when not.

Owns which bridges are leases', the table's life and its repair. Does not own what the rules say.

Invariants: a lease's bridge is in the table before a container of it starts, or none starts; a bridge leaves
the table only after its network is gone; the table is there exactly while there is a lease, also without us.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import structlog

from provider.adapters.runtime import containers, naming
from provider.adapters.runtime.containers import Found
from provider.adapters.runtime.egress import place as places
from provider.adapters.runtime.egress import programs, resolvers, ruleset, shaping, table
from provider.adapters.runtime.egress.place import Place
from provider.adapters.runtime.egress.ruleset import Elements, Port, Rules
from provider.adapters.runtime.engine import Engine
from provider.domain.errors import ProviderError, Temporary
from provider.domain.ids import LeaseId
from provider.domain.workload import PortBinding, Unfit

log = structlog.get_logger()

NFT = ("nft", "-f", "-")
FILTER = "network filter"
"""Its name in ``Unfit`` and where people read of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Put:
    """What this process last put into the kernel, and how it looked there right after."""

    rules: Rules
    fingerprint: str
    elements: Elements


class Warden:
    """One an engine. Safe to call from many tasks: what waits together is done together."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._settings = engine.settings.network
        self._table = ruleset.table_name(engine.settings.provider)
        self.resolvers = self._settings.dns or resolvers.of_host()
        """What containers are given; empty for the engine's own choice."""
        self._held: dict[LeaseId, frozenset[Port]] = {}
        """Leases that this process started something of, and their ports."""
        self._listed: Mapping[LeaseId, frozenset[Port]] | None = None
        """Leases that the engine knows; None before it was asked."""
        self._put: _Put | None = None
        self._is_absent = False
        """Whether the table is known not to be there."""
        self._trouble: str | None = None
        self._lock = asyncio.Lock()
        self._asked = self._done = 0
        self._leaving = 0
        """Leases whose networks are being removed."""

    async def guard(self, lease: LeaseId, bindings: Iterable[PortBinding] = ()) -> None:
        """Have the rules know the lease's bridge. ``Temporary`` where they cannot: then start nothing."""
        published = frozenset((each.proto.lower(), each.host_port) for each in bindings)
        self._held[lease] = self._held.get(lease, frozenset()) | published
        if self._settings.filters:
            await self._settle_together()

    async def shape(self, lease: LeaseId) -> None:
        """With the lease's network there: see that it is where the rules are, and limit what comes by it."""
        if not (self._settings.filters or self._settings.download_mbit):
            return
        place = await self._place()
        bridges = _there(lease, place.interfaces())
        if not bridges:
            raise Temporary(
                f"the engine's bridge {naming.bridges(lease)[0]} is not where the agent can put rules on it",
                remedy="run the agent beside the engine: in a container with --network host --pid host; "
                + programs.OR_OFF,
            )
        if self._settings.filters and bridges != naming.bridges(lease)[:1]:
            await self._settle_together()  # the rules were told of the usual one
        if self._settings.download_mbit:
            await shaping.settle(place, bridges, self._settings)

    @asynccontextmanager
    async def leaving(self, lease: LeaseId) -> AsyncIterator[None]:
        """While its network goes; then, without it, what was here for it goes too.

        The last of several that leave at once takes what all of them had. What fails is left to the next
        ``check``, as is a bridge of a lease that could not leave: rules for a bridge that is gone do nothing.
        """
        self._leaving += 1
        try:
            yield
        finally:
            self._leaving -= 1
        self._held.pop(lease, None)
        if self._leaving or self._put is None:
            return
        try:
            await self._settle_together()
        except ProviderError as failure:
            self._say(failure)

    async def check(self, found: Iterable[Found], left: Iterable[LeaseId]) -> None:
        """With what the engine just listed: mend what is not as it should be. Never raises a failure."""
        first = self._listed is None
        self._listed = _leases(found, left)
        try:
            await self._settle_together()
            if self._listed and (first or self._settings.download_mbit):
                bridges = [bridge for lease in self._listed for bridge in naming.bridges(lease)]
                await shaping.settle(await self._place(), bridges, self._settings)
        except ProviderError as failure:
            self._say(failure)
        else:
            self._say(None)

    async def unfit(self) -> tuple[Unfit, ...]:
        """What strangers should know of: that there are no rules, or that they cannot be put in place."""
        if not self._settings.filters:
            return (_no_rules("off", is_allowed=True),)
        try:
            place = await self._place()
            text = ruleset.whole(self._table, self._rules(place), {})
            await programs.run(place, ("nft", "--check", "-f", "-"), text)
        except ProviderError as failure:
            return (_no_rules(failure.what),)
        return ()

    async def _settle_together(self) -> None:
        """One look, and one change if need be, for all who wait here at once."""
        self._asked += 1
        mine = self._asked
        async with self._lock:
            if self._done >= mine:
                return
            upto = self._asked
            if self._listed is None:
                self._listed = await self._ask()
            await self._settle(await self._place())
            self._done = upto

    async def _settle(self, place: Place) -> None:
        bridges = self._wanted(place)
        if not bridges:
            await self._delete(place)
            return
        seen, rules, wanted = await self._read(place), self._rules(place), ruleset.elements(bridges)
        put = self._put if self._put is not None and self._put.rules == rules else None
        if put is not None and seen is not None and seen.fingerprint == put.fingerprint:
            if any(put.elements[name] - seen.elements[name] for name in wanted):
                log.warning("lease_rules_put_back", table=self._table, was="changed")
            changes = ruleset.changes(self._table, seen.elements, wanted)
            if changes:
                await programs.run(place, NFT, changes)
            self._put = replace(put, elements=wanted)
            return
        if put is not None:
            log.warning("lease_rules_put_back", table=self._table, was="changed" if seen else "gone")
        await programs.run(place, NFT, ruleset.whole(self._table, rules, bridges))
        after = await self._read(place)
        if after is None:
            raise Temporary(
                f"somebody removes the table inet {self._table}", remedy="find out who: nft monitor"
            )
        self._put = _Put(rules=rules, fingerprint=after.fingerprint, elements=wanted)
        self._is_absent = False

    async def _delete(self, place: Place) -> None:
        """No lease, or no filter: the table goes. Not looked for again until there was one."""
        if self._is_absent:
            return
        try:
            if await self._read(place) is not None:
                await programs.run(place, NFT, f"delete table inet {self._table}\n")
        except ProviderError:
            if self._settings.filters:
                raise
            # An operator who turned the filter off may not even have nft.
        self._put, self._is_absent = None, True

    async def _read(self, place: Place) -> table.Seen | None:
        """None where there is no such table."""
        try:
            told = await programs.run(place, ("nft", "-j", "list", "table", "inet", self._table))
        except programs.Refused as refused:
            if "No such file or directory" in refused.what:
                return None
            raise
        return table.parse(told)

    async def _ask(self) -> Mapping[LeaseId, frozenset[Port]]:
        provider = self._engine.settings.provider
        labels = {naming.PROVIDER: provider}
        return await self._engine.call(
            "looking for the leases' networks",
            lambda api: _leases(containers.find(api, labels), containers.leases_left(api, provider)),
        )

    async def _place(self) -> Place:
        return await asyncio.to_thread(places.find, self._engine.settings.socket_path)

    def _rules(self, place: Place) -> Rules:
        return Rules(settings=self._settings, resolvers=self.resolvers, neighbours=place.neighbours())

    def _wanted(self, place: Place) -> dict[str, frozenset[Port]]:
        """What was listed may be gone by now: only a bridge that is there, or is about to be, counts."""
        if not self._settings.filters:
            return {}
        here, listed = place.interfaces(), self._listed or {}
        wanted = {bridge: ports for lease, ports in listed.items() for bridge in _there(lease, here)}
        for lease, ports in self._held.items():
            for bridge in _there(lease, here) or naming.bridges(lease)[:1]:
                wanted[bridge] = wanted.get(bridge, frozenset()) | ports
        return wanted

    def _say(self, failure: ProviderError | None) -> None:
        """Once when it begins, once when it is over."""
        what = None if failure is None else failure.what
        if what is not None and failure is not None and what != self._trouble:
            log.error("lease_rules_not_in_place", problem=what, remedy=failure.remedy)
        if what is None and self._trouble is not None:
            log.info("lease_rules_in_place_again", table=self._table)
        self._trouble = what


def _there(lease: LeaseId, interfaces: Collection[str]) -> tuple[str, ...]:
    return tuple(bridge for bridge in naming.bridges(lease) if bridge in interfaces)


def _leases(found: Iterable[Found], left: Iterable[LeaseId]) -> dict[LeaseId, frozenset[Port]]:
    """Every lease that the engine has something of."""
    leases: dict[LeaseId, frozenset[Port]] = dict.fromkeys(left, frozenset())
    for each in found:
        leases[each.lease] = leases.get(each.lease, frozenset()) | each.published
    return leases


def _no_rules(found: str, *, is_allowed: bool = False) -> Unfit:
    return Unfit(
        part=FILTER,
        found=found,
        required="on",
        why="leases reach this host, its network and each other",
        is_allowed=is_allowed,
    )
