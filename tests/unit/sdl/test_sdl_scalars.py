"""One scalar at a time: units, numbers, flags, prices and spans, as Akash's Go code reads them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provider.sdl import scalars
from provider.sdl.scalars import Reader, Value


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (scalars.read_cpu, "0.5", 500),
        (scalars.read_cpu, "1", 1000),
        (scalars.read_cpu, "500m", 500),
        (scalars.read_cpu, "0.29", 290),
        (scalars.read_cpu, "1.001", 1000),  # double precision, cut: as Go
        (scalars.read_cpu, "1e1", 10_000),
        (scalars.read_bytes, "512Mi", 512 * 1024**2),
        (scalars.read_bytes, "1.5Gi", 3 * 1024**3 // 2),
        (scalars.read_bytes, "10G", 10**10),
        (scalars.read_bytes, "1k", 1000),
        (scalars.read_bytes, "1Ki", 1024),
        (scalars.read_bytes, "1T", 10**12),
        (scalars.read_bytes, "1Pi", 1024**5),
        (scalars.read_bytes, "1E", 10**18),
        (scalars.read_bytes, "1Ei", 1024**6),
        (scalars.read_bytes, "536870912", 536870912),
        (scalars.read_bytes, "0.1Ki", 102),
        (scalars.read_gpu_ram, "80Gi", "80Gi"),
        (scalars.read_gpu_ram, "81920Mi", "80Gi"),
        (scalars.read_gpu_ram, "1Ti", "1024Gi"),
        (scalars.read_gpu_units, "8", 8),
        (scalars.read_amount, "1000", Decimal(1000)),
        (scalars.read_amount, "0.000000000000000001", Decimal("0.000000000000000001")),
        (scalars.read_integer, "80", 80),
        (scalars.read_integer, "0x50", 80),
        (scalars.read_integer, "0b101", 5),
        (scalars.read_integer, "017", 15),  # octal, as Go's ParseInt with base 0
        (scalars.read_integer, "08", 8),
        (scalars.read_integer, "1_000", 1000),
        (scalars.read_integer, "2.0", 2),
        (scalars.read_flag, "true", True),
        (scalars.read_flag, "False", False),
        (scalars.read_flag, "yes", True),
        (scalars.read_flag, "off", False),
        (scalars.read_window, "24h", 86_400_000),
        (scalars.read_window, "90s", 90_000),
    ],
)
def test_taken(read: Reader, text: str, expected: Value) -> None:
    assert (expected, None) == read(text, False)


@pytest.mark.parametrize(
    ("read", "text", "hint"),
    [
        (scalars.read_cpu, "-1", ""),
        (scalars.read_cpu, "1.5m", ""),
        (scalars.read_cpu, "inf", ""),
        (scalars.read_cpu, "", ""),
        (scalars.read_bytes, "512MB", 'did you mean "512M"?'),
        (scalars.read_bytes, "1gi", 'did you mean "1Gi"?'),
        (scalars.read_bytes, "512m", 'did you mean "512Mi"?'),
        (scalars.read_bytes, "-1Gi", ""),
        (scalars.read_bytes, "1e300", ""),
        (scalars.read_gpu_ram, "80G", 'did you mean "80Gi"?'),
        (scalars.read_gpu_ram, "80GB", 'did you mean "80Gi"?'),
        (scalars.read_gpu_units, "1.0", ""),
        (scalars.read_gpu_units, "-1", ""),
        (scalars.read_amount, "0", ""),
        (scalars.read_amount, "-5", "write it without an exponent, a unit or a sign"),
        (scalars.read_amount, "1e3", "write it without an exponent, a unit or a sign"),
        (scalars.read_amount, ".5", ""),
        (scalars.read_amount, "0.0000000000000000001", ""),
        (scalars.read_integer, "22:22", ""),  # base 60 in YAML 1.1
        (scalars.read_integer, "2001-01-01", ""),
        (scalars.read_integer, "-1", ""),
        (scalars.read_integer, "4294967296", ""),
        (scalars.read_flag, "Yes", ""),
        (scalars.read_flag, "1", ""),
        (scalars.read_window, "0s", ""),
        (scalars.read_window, "24", ""),
        (scalars.read_window, "-1h", ""),
    ],
)
def test_refused(read: Reader, text: str, hint: str) -> None:
    value, complaint = read(text, False)
    assert value is None
    assert complaint is not None
    assert not complaint.is_soft
    assert hint == complaint.hint


def test_quotes_make_text_of_numbers_and_flags() -> None:
    value, complaint = scalars.read_integer("80", True)
    assert value is None
    assert complaint is not None
    assert complaint.hint == "drop the quotes"
    value, complaint = scalars.read_flag("true", True)
    assert value is None
    assert complaint is not None
    assert complaint.hint == "drop the quotes"
    assert scalars.read_flag("yes", True) == (True, None)


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (scalars.read_integer, "1.5", 1),
        (scalars.read_gpu_ram, "85899345920", "80Gi"),
        (scalars.read_window, "1h30m", 5_400_000),
        (scalars.read_window, "1.5h", 5_400_000),
    ],
)
def test_what_akash_lets_pass_is_soft(read: Reader, text: str, expected: Value) -> None:
    value, complaint = read(text, False)
    assert expected == value
    assert complaint is not None
    assert complaint.is_soft


READERS = (
    scalars.read_text,
    scalars.read_integer,
    scalars.read_flag,
    scalars.read_cpu,
    scalars.read_bytes,
    scalars.read_gpu_ram,
    scalars.read_gpu_units,
    scalars.read_amount,
    scalars.read_window,
)
NUMBERS = st.from_regex(r"[-+]?[0-9_.]{0,30}([eE][-+]?[0-9]{1,6})?[kKmMgGtTpPeEiBhs]{0,3}", fullmatch=True)


@given(text=NUMBERS | st.text(max_size=40), is_quoted=st.booleans())
def test_total(text: str, is_quoted: bool) -> None:
    """Any text gives a value, a complaint, or both; never an exception."""
    for read in READERS:
        value, complaint = read(text, is_quoted)
        assert value is not None or complaint is not None


@settings(max_examples=20)
@given(text=st.text(alphabet="0123456789", min_size=1000, max_size=5_000))
def test_long_numbers_are_not_computed(text: str) -> None:
    for read in READERS[1:]:
        _, complaint = read(text, False)
        assert complaint is not None
