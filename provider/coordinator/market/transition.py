"""The one way into the market: who answers which request, and how a repeat is told from a request.

A request with a key that was carried out before gets the answer it got then; the same key with other content
is denied. Both rest on the answer being committed together with the effect.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import assert_never

from provider.coordinator.book import Book
from provider.coordinator.denial import Denial, Denied
from provider.coordinator.market import bidding, deployments, membership, reporting, updating
from provider.coordinator.market.draft import RULES, Draft, Rules, Step
from provider.coordinator.market.requests import (
    AcceptBid,
    CloseDeployment,
    ConfirmLease,
    CreateDeployment,
    EndLease,
    Enrol,
    ForgetAnswers,
    Fund,
    Hello,
    Invite,
    Keyed,
    PlaceBid,
    RefuseLease,
    Reply,
    ReportLease,
    ReportUsage,
    Request,
    Resumed,
    TimePassed,
    UpdateDeployment,
    WithdrawBid,
)
from provider.coordinator.rows import Accepted, AnswerRow, AnswersForgotten, Created, Done, MemberId, Role
from provider.domain.moment import Instant

Outcome = tuple[Draft, Reply] | Denied


def transition(book: Book, request: Request, at: Instant, rules: Rules = RULES) -> Step:
    """Carry ``request`` out at ``at``, or deny it. An ``at`` before the book's is taken as the book's."""
    draft = Draft(book=book, at=max(at, book.at), rules=rules)
    outcome = _once(draft, request) if isinstance(request, Keyed) else _decide(draft, request)
    if isinstance(outcome, Denied):
        return Step(book=book, reply=outcome)
    draft, reply = outcome
    if not draft.rows:
        return Step(book=book, reply=reply)
    return Step(book=replace(draft.book, at=draft.at), rows=draft.rows, reply=reply)


def _once(draft: Draft, request: Keyed) -> Outcome:
    member, digest = _asker(request), hashlib.sha256(repr(request).encode()).hexdigest()
    before = draft.book.answers.get((member, request.key))
    if before is not None and before.digest != digest:
        return Denied(why=Denial.KEY_REUSED, what=f"the key {request.key} was used for another request")
    if before is not None:
        return draft, before.answer
    if draft.book.members.get(member) is None:
        return Denied(
            why=Denial.MEMBER_UNKNOWN,
            what=f"the {member.role} {member.name} is not a member of {draft.book.market}",
            remedy="enrol with a join token of this market",
        )
    outcome = _decide(draft, request)
    if isinstance(outcome, Denied):
        return outcome
    draft, reply = outcome
    assert isinstance(reply, Created | Accepted | Done), f"{reply} cannot be remembered"
    row = AnswerRow(member=member, key=request.key, digest=digest, answer=reply, at=draft.at)
    return draft.put(row), reply


def _asker(request: Keyed) -> MemberId:
    match request:
        case CreateDeployment() | UpdateDeployment() | AcceptBid() | CloseDeployment():
            return MemberId(role=Role.TENANT, name=request.owner)
        case _:
            return MemberId(role=Role.PROVIDER, name=request.provider)


def _decide(draft: Draft, request: Request) -> Outcome:
    match request:
        case Invite() | Fund() | Enrol() | Hello():
            return membership.decide(draft, request)
        case CreateDeployment() | CloseDeployment():
            return deployments.decide(draft, request)
        case UpdateDeployment():
            return updating.update(draft, request)
        case PlaceBid() | WithdrawBid() | AcceptBid() | ConfirmLease() | RefuseLease():
            return bidding.decide(draft, request)
        case ReportLease() | EndLease() | ReportUsage():
            return reporting.decide(draft, request)
        case TimePassed():
            return deployments.time_passed(draft, request.deployment), Done()
        case Resumed():
            return deployments.resumed(draft), Done()
        case ForgetAnswers():
            before = Instant(draft.at - draft.rules.answers_kept)
            stale = any(row.at < before for row in draft.book.answers.values())
            return (draft.put(AnswersForgotten(before=before)) if stale else draft), Done()
        case _:
            assert_never(request)
