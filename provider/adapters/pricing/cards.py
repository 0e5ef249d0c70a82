"""Which kind of card each unit of a group gets, in the words that the order asks for it in."""

from __future__ import annotations

from dataclasses import replace

from provider.core.cards import matches
from provider.domain.gpu import Gpu
from provider.domain.price import PriceQuestion
from provider.domain.resources import GpuAlternative, GpuAsk


def cards_given(question: PriceQuestion) -> dict[int, GpuAlternative]:
    """By the unit's number. All replicas of a unit are told as the first, as Akash tells them."""
    cards = {gpu.uuid: gpu for gpu in question.gpus}
    given: dict[int, GpuAlternative] = {}
    asked = {unit.resources.id: unit.resources.gpu for unit in question.order.group.units}
    for placed in question.placement.replicas:
        if placed.gpus and placed.resources_id not in given and placed.gpus[0] in cards:
            given[placed.resources_id] = _as_asked(cards[placed.gpus[0]], asked[placed.resources_id])
    return given


def _as_asked(card: Gpu, ask: GpuAsk) -> GpuAlternative:
    """The card's model, with memory and interface where the alternative that it matches names them."""
    named = next((each for each in ask.alternatives if matches(card, each)), GpuAlternative(vendor="nvidia"))
    return replace(named, model=card.model)
