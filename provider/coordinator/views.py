"""The book as its readers see it: deployments for their owners, the market for the one who runs it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from provider.coordinator.book import Book
from provider.coordinator.escrow import BID, Account, tenant_account
from provider.coordinator.market.deployments import held
from provider.coordinator.record import RecordEntry
from provider.coordinator.rows import (
    BidState,
    DeploymentRow,
    LeaseRow,
    LeaseState,
    OrderRow,
    OrderState,
    Role,
)
from provider.coordinator.sessions import Sessions
from provider.domain.ids import DeploymentId, Owner, ProviderId
from provider.domain.money import Denom, Money
from provider.rpc import codec, codec_market
from provider.rpc.v1 import admin_pb2, resources_pb2, tenant_pb2

_ORDER_STATES = {
    OrderState.OPEN: tenant_pb2.ORDER_STATE_OPEN,
    OrderState.AWARDED: tenant_pb2.ORDER_STATE_AWARDED,
    OrderState.CLOSED: tenant_pb2.ORDER_STATE_CLOSED,
}
_LEASE_STATES = {
    LeaseState.ACTIVE: tenant_pb2.LEASE_STATE_ACTIVE,
    LeaseState.CLOSING: tenant_pb2.LEASE_STATE_CLOSING,
    LeaseState.CLOSED: tenant_pb2.LEASE_STATE_CLOSED,
}


def deployments_of(book: Book, owner: Owner, *, include_closed: bool) -> list[tenant_pb2.Deployment]:
    """Newest first."""
    member = book.tenant(owner)
    last = member.deployments if member is not None else 0
    rows = (book.deployments[DeploymentId(owner=owner, dseq=dseq)] for dseq in range(last, 0, -1))
    return [deployment(book, row) for row in rows if include_closed or row.closed_at is None]


def deployment(book: Book, row: DeploymentRow) -> tenant_pb2.Deployment:
    leases = [lease for order in row.orders if (lease := book.leases.get(order)) is not None]
    return tenant_pb2.Deployment(
        owner=row.id.owner,
        dseq=row.id.dseq,
        state=_deployment_state(book, row),
        manifest_hash=bytes.fromhex(row.manifest_hash),
        escrow=codec.money_to_pb(held(book, row)),
        deposited=codec.money_to_pb(row.deposit),
        refunded=codec.money_to_pb(Money(amount=row.refunded, denom=row.deposit.denom)),
        orders=[_order(book, book.orders[order]) for order in row.orders],
        leases=[_lease(book, lease) for lease in leases],
        created_ms=row.created_at,
    )


def _deployment_state(book: Book, row: DeploymentRow) -> tenant_pb2.DeploymentState.ValueType:
    if row.closed_at is not None:
        return tenant_pb2.DEPLOYMENT_STATE_CLOSED
    found = [book.leases.get(order) for order in row.orders]
    is_open = any(book.orders[order].state is not OrderState.CLOSED for order in row.orders)
    is_leased = any(lease is not None and lease.state is LeaseState.ACTIVE for lease in found)
    if is_open or is_leased:
        return tenant_pb2.DEPLOYMENT_STATE_ACTIVE
    return tenant_pb2.DEPLOYMENT_STATE_CLOSING


def _order(book: Book, row: OrderRow) -> tenant_pb2.OrderView:
    bids = [bid for bid in book.bids.get(row.order.id) or () if bid.state is BidState.OPEN]
    bids.sort(key=lambda bid: (bid.bid.rate.amount, bid.number))
    return tenant_pb2.OrderView(
        order=codec_market.order_to_pb(row.order),
        state=_ORDER_STATES[row.state],
        bids=[codec_market.bid_to_pb(bid.bid) for bid in bids],
    )


def _lease(book: Book, row: LeaseRow) -> tenant_pb2.LeaseView:
    provider, bid = book.provider(row.id.provider), book.bid(row.id)
    reason = resources_pb2.CLOSE_REASON_UNSPECIFIED
    return tenant_pb2.LeaseView(
        id=codec.lease_id_to_pb(row.id),
        state=_LEASE_STATES[row.state],
        rate=codec.rate_to_pb(row.rate),
        health=codec_market.HEALTH_TO_PB[row.health],
        ports=[codec_market.port_to_pb(port) for port in row.ports],
        detail=row.detail,
        lease_address=provider.lease_address if provider is not None else "",
        running_ms=row.running_ms,
        settled=codec.money_to_pb(Money(amount=row.settled, denom=row.rate.denom)),
        reason=codec_market.REASON_TO_PB[row.reason] if row.reason is not None else reason,
        confirmed_ms=row.confirmed_at,
        closed_ms=row.closed_at or 0,
        gpus=[codec_market.gpu_offer_to_pb(offer) for offer in (bid.bid.gpus if bid is not None else ())],
    )


def balance(book: Book, owner: Owner) -> tenant_pb2.GetBalanceResponse:
    """Only denoms that the tenant ever had."""
    accounts = [tenant_account(owner, denom) for denom in Denom]
    escrowed: defaultdict[Denom, int] = defaultdict(int)
    for live in book.live:
        if live.owner == owner:
            money = held(book, book.deployments[live])
            escrowed[money.denom] += money.amount
    return tenant_pb2.GetBalanceResponse(
        available=[_balance(book, account) for account in accounts if account in book.ledger.balances],
        escrowed=[
            codec.money_to_pb(Money(amount=amount, denom=denom)) for denom, amount in sorted(escrowed.items())
        ],
    )


def market(book: Book, sessions: Sessions) -> admin_pb2.GetMarketResponse:
    balances: Counter[tuple[str, Denom]] = Counter()
    for account in book.ledger.balances:
        if amount := book.ledger.balance(account):
            is_bid = account.name.startswith(BID)
            name = f"bids:{account.name.rpartition('/')[2]}" if is_bid else account.name
            balances[name, account.denom] += amount
    orders = [book.orders[order] for live in book.live for order in book.deployments[live].orders]
    leases = [book.leases.get(order) for live in book.live for order in book.deployments[live].orders]
    earned: Counter[tuple[ProviderId, Denom]] = Counter()
    for lease in book.leases.values():
        earned[lease.id.provider, lease.rate.denom] += lease.settled
    return admin_pb2.GetMarketResponse(
        market=book.market,
        providers=[
            _provider(book, sessions, ProviderId(member.name), earned)
            for member in sorted(book.members)
            if member.role is Role.PROVIDER
        ],
        accounts=[
            admin_pb2.AccountView(name=name, balance=codec.money_to_pb(Money(amount=amount, denom=denom)))
            for (name, denom), amount in sorted(balances.items())
        ],
        open_orders=sum(row.state is OrderState.OPEN for row in orders),
        active_leases=sum(lease is not None and lease.state is LeaseState.ACTIVE for lease in leases),
    )


def _provider(
    book: Book, sessions: Sessions, provider: ProviderId, earned: Mapping[tuple[ProviderId, Denom], int]
) -> admin_pb2.ProviderView:
    row = book.provider(provider)
    return admin_pb2.ProviderView(
        name=provider,
        connected=provider in sessions,
        lease_address=row.lease_address if row is not None else "",
        last_seen_ms=sessions.seen.get(provider, 0),
        earned=[
            codec.money_to_pb(Money(amount=paid, denom=denom))
            for denom in Denom
            if (paid := earned.get((provider, denom), 0))
        ],
    )


def _balance(book: Book, account: Account) -> resources_pb2.Money:
    return codec.money_to_pb(Money(amount=book.ledger.balance(account), denom=account.denom))


def record_entries(entries: Iterable[RecordEntry]) -> list[tenant_pb2.RecordEntry]:
    return [
        tenant_pb2.RecordEntry(
            number=entry.number, at_ms=entry.at, body_json=entry.body_json, hash=entry.hash
        )
        for entry in entries
    ]
