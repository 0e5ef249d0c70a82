"""``provider simulate``: the ledger's orders decided again under another configuration, offline.

Owns which records count, whose names the provider goes by, and what there was. The deciding is
``core.replay``'s, the counting ``core.comparing``'s. Invariant: same ledger, same configuration, same answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from provider.adapters.ledger import file
from provider.app.config import ProviderConfig
from provider.app.policy import policy
from provider.core import replay_prices
from provider.core.admission import Accepted
from provider.core.comparing import Account, account
from provider.core.ledger import Began, Decided, Record, Seen, Settled
from provider.core.policy import Policy, PriceStrategy
from provider.core.replay import Replay
from provider.core.replay_prices import Answers
from provider.domain.errors import ConfigError
from provider.domain.ids import HOME, LeaseId, MarketId, ProviderId
from provider.domain.moment import Instant

NOBODY = ProviderId("provider")
"""Where no bid is on record: a name appears in nothing that is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """Two accounts of the same orders."""

    since: Instant
    until: Instant
    really: Account
    simulated: Account
    restarts: int
    """Of the daemon meanwhile: what it did not know then, the replay does not know either."""
    changes: int
    """Of the operator's settings meanwhile: what was really decided was decided under several."""
    strategy: PriceStrategy
    """Under which the orders were decided again."""
    not_asked: int
    """Orders that would have been priced by somebody who was not asked about them then."""
    is_now: bool
    """With what there is now, in place of what there was."""


def simulate(ledger: Path, config: ProviderConfig, since: Instant | None, *, now: bool) -> Simulation:
    """``ConfigError`` where the ledger cannot be read, or holds no decision since then."""
    records = list(file.read_all(ledger))
    start = since if since is not None else min((each.at for each in records), default=Instant(0))
    before = [record for record in records if record.at < start]
    counting = [record for record in records if record.at >= start]
    if not any(isinstance(record, Decided) for record in counting):
        raise ConfigError(
            f"{ledger}: no order was decided on in that time", remedy="look further back: --since 30d"
        )
    rules = _policy(config, records)
    replay = Replay(rules, inventory=_last_seen(records) if now else None, said=_said(records, rules))
    replay.begin(before)
    for record in counting:
        replay.take(record)
    return Simulation(
        since=start,
        until=counting[-1].at,
        really=account(counting),
        simulated=account(replay.made),
        restarts=sum(isinstance(record, Began) for record in counting),
        changes=sum(isinstance(record, Settled) for record in counting),
        strategy=rules.strategy,
        not_asked=len(replay.not_asked),
        is_now=now,
    )


def _policy(config: ProviderConfig, records: Iterable[Record]) -> Policy:
    """Under the names that it had: they are part of the names of bids."""
    names: dict[MarketId, ProviderId] = {}
    for bid in _bids(records):
        names[bid.market] = bid.provider
    return replace(policy(config, names.pop(HOME, NOBODY)), names=names)


def _said(records: Iterable[Record], rules: Policy) -> Answers:
    """``ConfigError`` where prices are asked for, and the ledger has none of them."""
    if not rules.strategy.is_asked:
        return replay_prices.NOBODY
    said = replay_prices.answers(records, rules)
    if not said.prices:
        raise ConfigError(
            f"pricing.strategy: a simulation asks no {rules.strategy} what it would have said,"
            " and the ledger has no price of one",
            remedy="simulate another strategy, such as scale",
        )
    return said


def _bids(records: Iterable[Record]) -> Iterable[LeaseId]:
    for record in records:
        if isinstance(record, Began):
            yield from (held.bid.id for held in record.held)
        elif isinstance(record, Decided) and isinstance(record.decision.verdict, Accepted):
            yield record.decision.verdict.bid.id


def _last_seen(records: Sequence[Record]) -> Seen:
    for record in reversed(records):
        if isinstance(record, Seen):
            return record
    raise ConfigError(
        "the ledger does not say what this machine has now",
        remedy="leave --inventory out, or start the daemon once",
    )
