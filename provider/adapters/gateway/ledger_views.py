"""Decisions as their operator sees them. Pure: stories of the ledger in, messages out; and questions back."""

from __future__ import annotations

from collections.abc import Iterable

from provider.core.admission import Accepted
from provider.core.ledger import Fate, LedgerQuery, Story, Turned
from provider.domain.ids import LeaseId, OrderId
from provider.domain.market import Refusal
from provider.domain.moment import Instant
from provider.domain.price import PricePart
from provider.rpc.codec import group_to_pb, money_to_pb, rate_to_pb
from provider.rpc.codec_market import gpu_offer_to_pb
from provider.rpc.fields import at_least, at_most, broken, each, line, one_of, text
from provider.rpc.v1 import operator_pb2 as pb

LIMIT_USUAL = 50
LIMIT_MOST = 1000


def query_from_pb(wire: pb.ListDecisionsRequest) -> LedgerQuery:
    since = at_least(wire.since_ms, 0, "since_ms")
    limit = at_most(at_least(wire.limit, 0, "limit"), LIMIT_MOST, "limit")
    return LedgerQuery(
        since=Instant(since) if since else None,
        fates=frozenset(each(wire.outcomes, lambda word, path: one_of(Fate, word, path), "outcomes")),
        reasons=frozenset(each(wire.reasons, lambda word, path: one_of(Refusal, word, path), "reasons")),
        limit=limit or LIMIT_USUAL,
    )


def order_from_text(wire: str, path: str = "order") -> OrderId:
    """An order's name, or that of a bid or lease of it."""
    name = text(wire, path)
    try:
        return LeaseId.parse(name).order if name.count("/") == 4 else OrderId.parse(name)
    except ValueError as problem:
        raise broken(path, str(problem)) from None


def story_to_pb(story: Story) -> pb.OrderDecision:
    decided = story.decided
    made = pb.OrderDecision(
        order=str(decided.order.id),
        group=group_to_pb(decided.order.group),
        decided_ms=decided.at,
        took_us=decided.took_us,
        again=decided.is_again,
        outcome=story.fate,
        passed=decided.decision.passed,
        maximum=rate_to_pb(decided.order.group.max_rate),
        turns=map(_turn_to_pb, story.turns),
    )
    verdict = decided.decision.verdict
    if isinstance(verdict, Accepted):
        _add_bid(made, verdict)
    else:
        made.rule = decided.decision.rule
        made.reason = verdict.why
        made.required = line(verdict.required)
        made.available = line(verdict.available)
    return made


def _add_bid(made: pb.OrderDecision, accepted: Accepted) -> None:
    made.rate.CopyFrom(rate_to_pb(accepted.bid.rate))
    if accepted.floor is not None:
        made.floor.CopyFrom(rate_to_pb(accepted.floor))
    made.parts.extend(_parts_to_pb(accepted.parts))
    made.costs.extend(_parts_to_pb(accepted.costs))
    made.gpus.extend(map(gpu_offer_to_pb, accepted.bid.gpus))
    made.node = accepted.placement.node
    made.replicas.extend(
        pb.PlacedReplica(resources_id=each.resources_id, replica=each.replica, gpu_uuids=each.gpus)
        for each in accepted.placement.replicas
    )
    made.host_ports.extend(accepted.placement.host_ports)
    made.picked = line(accepted.picked)


def _parts_to_pb(parts: Iterable[PricePart]) -> list[pb.PricePart]:
    return [
        pb.PricePart(
            what=part.what,
            amount=f"{part.amount.normalize():f}",
            cost_micros_hour=f"{part.cost.normalize():f}",
            unit_cost_micros_hour=None if part.unit_cost is None else f"{part.unit_cost.normalize():f}",
        )
        for part in parts
    ]


def _turn_to_pb(turned: Turned) -> pb.BidTurn:
    return pb.BidTurn(
        at_ms=turned.at,
        outcome=turned.fate,
        detail=line(turned.detail),
        running_ms=turned.ran_ms,
        earned=None if turned.earned is None else money_to_pb(turned.earned),
    )
