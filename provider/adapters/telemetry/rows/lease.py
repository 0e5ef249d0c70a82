"""Leases: what they hold, earn and use."""

from __future__ import annotations

from provider.adapters.telemetry.rows.sample import Group, Rows, truth
from provider.adapters.telemetry.table import lease as table
from provider.adapters.telemetry.view import LeaseView
from provider.core.lease import Phase
from provider.domain.gpu import Gpu
from provider.domain.ids import GpuUuid
from provider.domain.money import Money, Rate

LIVE_PHASES = tuple(phase for phase in Phase if phase is not Phase.CLOSED)


def held_by(leases: tuple[LeaseView, ...], cards: dict[GpuUuid, Gpu]) -> Group:
    """What stays as it is for the most of a lease's life."""
    return Group(
        metrics=(table.INFO, table.GPU_INFO, table.STATE, table.RATE),
        tell=_held,
        parts=[
            (
                each.key,
                (
                    each.key,
                    each.market,
                    each.phase,
                    each.rate,
                    tuple((uuid, cards.get(uuid)) for uuid in each.gpus),
                ),
            )
            for each in leases
        ],
    )


def _held(
    key: str, market: str, phase: Phase, rate: Rate, held: tuple[tuple[GpuUuid, Gpu | None], ...]
) -> Rows:
    cards = [card for _, card in held if card is not None]
    sku = cards[0].model if cards else "cpu"
    yield table.INFO, [((key, sku, truth(any(card.simulated for card in cards)), market), 1)]
    yield table.GPU_INFO, [((key, uuid), 1) for uuid, _ in held]
    yield table.STATE, [((key, each), float(phase is each)) for each in LIVE_PHASES]
    yield table.RATE, [((key, rate.denom), float(rate.amount))]


def earned_by(leases: tuple[LeaseView, ...]) -> Group:
    """What moves all the time: told of all at once."""
    return Group(
        metrics=(table.EARNED, table.GPU_SECONDS),
        tell=_earned,
        parts=[("", tuple((each.key, each.earned, each.gpus, each.ran_ms) for each in leases))],
    )


def _earned(*leases: tuple[str, Money, tuple[GpuUuid, ...], int]) -> Rows:
    yield table.EARNED, [((key, earned.denom), earned.amount) for key, earned, _, _ in leases]
    yield table.GPU_SECONDS, [((key, uuid), ms / 1000) for key, _, gpus, ms in leases for uuid in gpus]
