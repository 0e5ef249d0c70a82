"""Which price is a card's: the key that says most, a slice its share of the card."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from provider.core.gpu_keys import Found, look_up, parse
from provider.domain.gpu import Gpu, MigSlice
from provider.domain.resources import GIB
from tests.agents import gpu

SMALL, LARGE = gpu(0, "a100", memory=39 * GIB), gpu(1, "a100", memory=79 * GIB)
CARD = replace(LARGE, interface="pcie")
WHOLE = Fraction(1)


def slice_of(card: Gpu, profile: str = "1g.10gb", slices: int | None = 1) -> Gpu:
    mig = MigSlice(parent=card.uuid, profile=profile, gpu_instance=1, compute_instance=0, slices=slices)
    return replace(card, memory_bytes=10 * GIB, mig=mig)


@pytest.mark.parametrize(
    ("keys", "card", "expected"),
    [
        ("a100 *", LARGE, "a100"),
        ("h100 *", LARGE, "*"),
        ("h100", LARGE, None),
        ("a100 a100/80Gi a100/40Gi", LARGE, "a100/80Gi"),
        ("a100 a100/80Gi a100/40Gi", SMALL, "a100/40Gi"),
        ("a100/sxm a100", LARGE, "a100/sxm"),
        ("a100/sxm a100", CARD, "a100"),
        ("a100/sxm a100/80Gi", LARGE, "a100/80Gi"),
        ("a100/80Gi a100/80Gi/sxm", LARGE, "a100/80Gi/sxm"),
        ("*/80Gi a100", LARGE, "a100"),
        ("*/80Gi *", LARGE, "*/80Gi"),
        ("a100/mig-1g.10gb *", LARGE, "*"),
        ("a100/mig-1g.10gb a100", slice_of(LARGE), "a100/mig-1g.10gb"),
    ],
)
def test_the_key_that_says_most(keys: str, card: Gpu, expected: str | None) -> None:
    values = {key: Decimal(number) for number, key in enumerate(keys.split())}
    found = look_up(values, card)
    assert (found and found.value) == (None if expected is None else values[expected])
    assert found is None or found.share == WHOLE


def test_the_order_in_which_they_are_written_does_not_matter() -> None:
    values = {"*": Decimal(1), "a100": Decimal(2), "a100/80Gi": Decimal(3)}
    assert look_up(values, LARGE) == look_up(dict(reversed(values.items())), LARGE)


@pytest.mark.parametrize(
    ("instance", "share"),
    [
        (slice_of(LARGE), Fraction(1, 7)),
        (slice_of(LARGE, "3g.40gb", 3), Fraction(3, 7)),
        (slice_of(LARGE, slices=None), WHOLE),
    ],
)
def test_an_instance_without_a_key_of_its_own_costs_its_share(instance: Gpu, share: Fraction) -> None:
    assert look_up({"a100": Decimal(7)}, instance) == Found(value=Decimal(7), share=share)


@pytest.mark.parametrize(
    "text", ["*", "h100", "rtx4090", "a100/80Gi", "a100/sxm/80Gi", "a100/mig-1g.10gb+me"]
)
def test_keys(text: str) -> None:
    assert parse(text).says >= (text != "*")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "names no card"),
        ("H100", "names no card"),
        ("a100/80GB", "'80GB' is no memory"),
        ("a100/", "'' is no memory"),
        ("a100/mig-8", "'mig-8' is no memory"),
        ("a100/80Gi/40Gi", "says its ram twice"),
    ],
)
def test_keys_that_are_none_say_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(text)
