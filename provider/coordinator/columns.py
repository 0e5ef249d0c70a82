"""Rows as columns, both ways: what the store writes and reads, in the order of the tables' columns.

Lists inside a row (a group, offered GPUs, ports) are one JSON column each: nothing is ever looked up by them.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypeVar

from cattrs.preconf.json import JsonConverter, make_converter
from cattrs.strategies import configure_tagged_union

from provider.coordinator.escrow import Account, Transfer
from provider.coordinator.record import RecordEntry
from provider.coordinator.rows import (
    Answer,
    AnswerRow,
    BalanceRow,
    BidRow,
    BidState,
    DeploymentRow,
    InviteRow,
    LeaseRow,
    LeaseState,
    MemberId,
    MemberRow,
    OrderRow,
    OrderState,
    Role,
)
from provider.domain.ids import DeploymentId, LeaseId, OrderId, Owner, ProviderId
from provider.domain.market import Bid, CloseReason, GpuOffer, GroupSpec, LeaseHealth, Order
from provider.domain.moment import Instant
from provider.domain.money import Denom, Money, Rate
from provider.domain.workload import PortBinding

Columns = tuple[Any, ...]
T = TypeVar("T")


def _converter() -> JsonConverter:
    converter = make_converter(omit_if_default=True)
    converter.register_unstructure_hook(Decimal, str)
    converter.register_structure_hook(Decimal, lambda text, _: Decimal(text))
    configure_tagged_union(Answer, converter, tag_name="answer")
    return converter


_JSON = _converter()


def _text(value: object, kind: Any) -> str:
    return _JSON.dumps(value, unstructure_as=kind)


def _order_columns(order: OrderId) -> Columns:
    return order.owner, order.dseq, order.gseq, order.oseq


def _order_id(owner: str, dseq: int, gseq: int, oseq: int) -> OrderId:
    return OrderId(owner=Owner(owner), dseq=dseq, gseq=gseq, oseq=oseq)


def _rate(amount: str, denom: str) -> Rate:
    return Rate(amount=Decimal(amount), denom=Denom(denom))


def of_member(row: MemberRow) -> Columns:
    key = (row.id.role, row.id.name)
    return *key, row.enrolled_at, row.deployments, row.epoch, row.instance, row.lease_address, row.software


def member(found: Columns) -> MemberRow:
    role, name, enrolled_at, deployments, epoch, instance, lease_address, software = found
    return MemberRow(
        id=MemberId(role=Role(role), name=name),
        enrolled_at=Instant(enrolled_at),
        deployments=deployments,
        epoch=epoch,
        instance=instance,
        lease_address=lease_address,
        software=software,
    )


def of_invite(row: InviteRow) -> Columns:
    who = (row.member.role, row.member.name)
    return row.key, row.digest, *who, row.expires_at, row.used_key, row.used_csr


def invite(found: Columns) -> InviteRow:
    key, digest, role, name, expires_at, used_key, used_csr = found
    return InviteRow(
        key=key,
        digest=digest,
        member=MemberId(role=Role(role), name=name),
        expires_at=Instant(expires_at),
        used_key=used_key,
        used_csr=used_csr,
    )


def of_deployment(row: DeploymentRow) -> Columns:
    money = (row.deposit.denom, row.deposit.amount, row.refunded)
    life = (row.created_at, row.closed_at, row.updates)
    return row.id.owner, row.id.dseq, row.manifest_hash, *money, *life


def deployment(found: Columns) -> DeploymentRow:
    owner, dseq, manifest_hash, denom, deposit, refunded = found[:6]
    created_at, closed_at, updates, orders = found[6:]
    return DeploymentRow(
        id=DeploymentId(owner=Owner(owner), dseq=dseq),
        manifest_hash=manifest_hash,
        deposit=Money(amount=deposit, denom=Denom(denom)),
        orders=tuple(_order_id(owner, dseq, gseq, 1) for gseq in range(1, orders + 1)),
        created_at=Instant(created_at),
        closed_at=None if closed_at is None else Instant(closed_at),
        refunded=refunded,
        updates=updates,
    )


def of_order(row: OrderRow) -> Columns:
    group = _text(row.order.group, GroupSpec)
    return *_order_columns(row.order.id), group, row.state, row.opened_version, row.version


def order(found: Columns) -> OrderRow:
    owner, dseq, gseq, oseq, group, state, opened_version, version, manifest_hash = found
    return OrderRow(
        order=Order(
            id=_order_id(owner, dseq, gseq, oseq),
            group=_JSON.loads(group, GroupSpec),
            manifest_hash=manifest_hash,
        ),
        state=OrderState(state),
        opened_version=opened_version,
        version=version,
    )


def of_bid(row: BidRow) -> Columns:
    offer = (str(row.bid.rate.amount), row.bid.rate.denom, _text(row.bid.gpus, tuple[GpuOffer, ...]))
    life = (row.state, row.number, row.placed_at, row.version, row.confirm_by, row.ended)
    return *_order_columns(row.bid.id.order), row.bid.id.provider, *offer, *life


def bid(found: Columns) -> BidRow:
    provider, rate, denom, gpus, state, number, placed_at, version, confirm_by, ended = found[4:]
    return BidRow(
        bid=Bid(
            id=_lease_id(found, provider),
            rate=_rate(rate, denom),
            gpus=_JSON.loads(gpus, tuple[GpuOffer, ...]),
        ),
        state=BidState(state),
        number=number,
        placed_at=Instant(placed_at),
        version=version,
        confirm_by=None if confirm_by is None else Instant(confirm_by),
        ended=None if ended is None else CloseReason(ended),
    )


def of_lease(row: LeaseRow) -> Columns:
    price = (str(row.rate.amount), row.rate.denom)
    told = (row.health, _text(row.ports, tuple[PortBinding, ...]), row.detail)
    usage = (row.usage_number, row.running_ms, row.settled, int(row.usage_final), row.accrues_from)
    end = (row.closed_at, row.reason, row.settle_by, row.version)
    key = (*_order_columns(row.id.order), row.id.provider)
    return *key, row.state, *price, row.confirmed_at, *told, *usage, *end


def lease(found: Columns) -> LeaseRow:
    provider, state, rate, denom, confirmed_at, health, ports, detail = found[4:12]
    usage_number, running_ms, settled, usage_final, accrues_from, closed_at, reason = found[12:19]
    settle_by, version = found[19:]
    return LeaseRow(
        id=_lease_id(found, provider),
        state=LeaseState(state),
        rate=_rate(rate, denom),
        confirmed_at=Instant(confirmed_at),
        health=LeaseHealth(health),
        ports=_JSON.loads(ports, tuple[PortBinding, ...]),
        detail=detail,
        usage_number=usage_number,
        running_ms=running_ms,
        settled=settled,
        usage_final=bool(usage_final),
        accrues_from=accrues_from,
        closed_at=closed_at,
        reason=None if reason is None else CloseReason(reason),
        settle_by=settle_by,
        version=version,
    )


def _lease_id(found: Columns, provider: str) -> LeaseId:
    return _order_id(*found[:4]).lease(ProviderId(provider))


def of_balance(row: BalanceRow) -> Columns:
    return row.account.name, row.account.denom, row.amount


def balance(found: Columns) -> BalanceRow:
    name, denom, amount = found
    return BalanceRow(account=Account(name=name, denom=Denom(denom)), amount=amount)


def of_transfer(row: Transfer) -> Columns:
    source = None if row.source is None else row.source.name
    return row.subject, row.number, source, row.target.name, row.target.denom, row.amount, row.at


def transfer(found: Columns) -> Transfer:
    subject, number, source, target, denom, amount, at = found[:7]
    return Transfer(
        subject=subject,
        number=number,
        source=None if source is None else Account(name=source, denom=Denom(denom)),
        target=Account(name=target, denom=Denom(denom)),
        amount=amount,
        at=Instant(at),
    )


def of_record_entry(row: RecordEntry) -> Columns:
    return row.number, row.at, row.body_json, row.hash


def record_entry(found: Columns) -> RecordEntry:
    number, at, body_json, digest = found
    return RecordEntry(number=number, at=Instant(at), body_json=body_json, hash=digest)


def of_answer(row: AnswerRow) -> Columns:
    return row.member.role, row.member.name, row.key, row.digest, _text(row.answer, Answer), row.at


def answer(found: Columns) -> AnswerRow:
    role, name, key, digest, text, at = found
    answered: Any = _JSON.loads(text, Answer)  # type: ignore[arg-type]  # a union is no class
    return AnswerRow(
        member=MemberId(role=Role(role), name=name), key=key, digest=digest, answer=answered, at=Instant(at)
    )
