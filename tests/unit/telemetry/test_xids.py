"""Counting the driver's errors, within bounds."""

from __future__ import annotations

from provider.adapters.telemetry.xids import KINDS_MOST, GpuXids
from provider.core.xids import xid_class
from provider.domain.gpu_health import XidClass
from provider.domain.ids import GpuUuid
from provider.domain.moment import Instant

FIRST, SECOND = GpuUuid("GPU-1"), GpuUuid("GPU-2")


def test_they_are_counted_by_card_number_and_kind() -> None:
    xids = GpuXids()
    for uuid, xid, count in ((FIRST, 31, 2), (FIRST, 31, 1), (SECOND, 79, 1)):
        xids.note(uuid, xid, xid_class(xid), count, Instant(xid))
    now = xids.now()
    assert now[FIRST].counts == {(31, XidClass.APP): 3}
    assert (now[SECOND].counts, now[SECOND].last, now[SECOND].last_xid) == ({(79, XidClass.NODE): 1}, 79, 79)


def test_a_driver_that_makes_numbers_up_makes_no_more_series() -> None:
    xids = GpuXids()
    for xid in range(10_000):
        xids.note(FIRST, xid, xid_class(xid), 1, Instant(xid))
    assert len(xids.now()[FIRST].counts) == KINDS_MOST
    assert xids.now()[FIRST].last_xid == 9_999


def test_a_card_that_is_gone_is_forgotten() -> None:
    xids = GpuXids()
    for uuid in (FIRST, SECOND):
        xids.note(uuid, 31, XidClass.APP, 1, Instant(1))
    xids.keep_only({SECOND})
    assert set(xids.now()) == {SECOND}
