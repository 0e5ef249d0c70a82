"""What one scalar means in the field where it stands.

Owns the reading of numbers, flags, amounts and sizes as Akash's Go code reads them, from their text and
whether they were quoted. Does not know where they stand. Invariant: pure and total; a value comes back,
or a complaint, or both where Akash takes what should not have been written.

Sources: gopkg.in/yaml.v3 ``resolve.go`` and ``decode.go`` for integers and flags; Akash chain-sdk
``go/sdl/{units,coin,utils,reclamation}.go`` at 55f1c68 for the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from provider.domain.money import RATE_DIGITS
from provider.sdl.problems import quote

Value = str | int | bool | Decimal

UINT32_MAX = 2**32 - 1
BYTE_UNITS = {
    **{letter: 1000**power for power, letter in enumerate("kMGTPE", 1)},
    **{letter + "i": 1024**power for power, letter in enumerate("KMGTPE", 1)},
}
_GIB = BYTE_UNITS["Gi"]
_FLOAT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)
_YAML_FLOAT = re.compile(r"[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d{1,4})?", re.ASCII)
_YAML_INT = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)", re.ASCII)
_AMOUNT = re.compile(r"\+?\d{1,60}(?:\.\d+)?", re.ASCII)
_WINDOW = re.compile(r"[1-9][0-9]{0,9}[smh]", re.ASCII)
_GO_DURATION = re.compile(r"(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+", re.ASCII)
_GO_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_MS = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
_TRUE = frozenset({"y", "Y", "yes", "on"})
_FALSE = frozenset({"n", "N", "no", "off"})
_PLAIN_TRUE = frozenset({"true", "True", "TRUE"})
_PLAIN_FALSE = frozenset({"false", "False", "FALSE"})
LONGEST_NUMBER = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """Why a text is not what the field wants. ``is_soft``: Akash takes it all the same."""

    what: str
    allowed: str = ""
    hint: str = ""
    is_soft: bool = False


Reading = tuple[Value | None, Complaint | None]
Reader = Callable[[str, bool], Reading]


def read_text(text: str, is_quoted: bool) -> Reading:
    return text, None


def read_integer(text: str, is_quoted: bool) -> Reading:
    """An unsigned 32-bit integer, never from quoted text; fractions are cut off, as Akash does."""
    allowed = "a whole number"
    digits = text.replace("_", "")
    if is_quoted:
        hint = "drop the quotes" if digits.isdigit() else ""
        return None, Complaint(what=f"{quote(text)} is text", allowed=allowed, hint=hint)
    if len(digits) > LONGEST_NUMBER or not (_YAML_INT.fullmatch(digits) or _YAML_FLOAT.fullmatch(digits)):
        return None, Complaint(what=f"{quote(text)} is not a number", allowed=allowed)
    exact = _yaml_number(digits)
    if not 0 <= exact <= UINT32_MAX:
        return None, Complaint(what=f"{quote(text)} is out of range", allowed=f"{allowed}, 0 to {UINT32_MAX}")
    number = int(exact)
    if number != exact:
        what = f"{quote(text)} has a fraction"
        return number, Complaint(what=what, allowed=allowed, hint=f"Akash takes it as {number}", is_soft=True)
    return number, None


def read_flag(text: str, is_quoted: bool) -> Reading:
    """``true`` or ``false``, and the words of YAML 1.1 in the spellings that Akash takes."""
    if text in _TRUE or (not is_quoted and text in _PLAIN_TRUE):
        return True, None
    if text in _FALSE or (not is_quoted and text in _PLAIN_FALSE):
        return False, None
    hint = "drop the quotes" if text in _PLAIN_TRUE | _PLAIN_FALSE else ""
    return None, Complaint(what=f"{quote(text)} is not a flag", allowed="true or false", hint=hint)


def read_cpu(text: str, is_quoted: bool) -> Reading:
    """Milli-cores, from cores (``0.5``) or milli-cores (``500m``); smaller fractions are cut off."""
    allowed = "cores as 0.5 or 2, or milli-cores as 500m"
    number = text.removesuffix("m")
    if number != text:
        if number.isascii() and number.isdigit() and len(number) <= 10 and int(number) <= UINT32_MAX:
            return int(number), None
        return None, Complaint(what=f"{quote(text)} is not an amount of CPU", allowed=allowed)
    return _scaled(text, 1000, "an amount of CPU", allowed)


def read_bytes(text: str, is_quoted: bool) -> Reading:
    """Bytes, from a number with or without a unit; a fraction of a byte is cut off."""
    allowed = "a size as 512Mi, 1.5Gi or 10G (units k Ki M Mi G Gi T Ti P Pi E Ei)"
    for unit, factor in BYTE_UNITS.items():
        if text.endswith(unit):
            return _scaled(text.removesuffix(unit), factor, "a size", allowed, shown=text)
    value, complaint = _scaled(text, 1, "a size", allowed)
    if complaint is not None and (hint := _unit_hint(text)):
        complaint = Complaint(what=complaint.what, allowed=complaint.allowed, hint=hint)
    return value, complaint


def read_gpu_ram(text: str, is_quoted: bool) -> Reading:
    """A GPU's memory as Akash's attribute writes it: whole Gi, ``80Gi``."""
    allowed = "a size as 80Gi (units Ki Mi Gi Ti Pi Ei)"
    for unit, factor in BYTE_UNITS.items():
        if unit.endswith("i") and text.endswith(unit):
            value, complaint = _scaled(text.removesuffix(unit), factor, "a size", allowed, shown=text)
            return (f"{value // _GIB}Gi" if isinstance(value, int) else None), complaint
    value, complaint = _scaled(text, 1, "a size of GPU memory", allowed)
    if not isinstance(value, int):
        number = text.rstrip("gGbB")
        hint = f'did you mean "{number}Gi"?' if number != text and number.isdigit() else ""
        return None, Complaint(what=f"{quote(text)} is not a size of GPU memory", allowed=allowed, hint=hint)
    what = f"{quote(text)} has no unit, and is taken as bytes"
    hint = f'did you mean "{value}Gi"?'
    return f"{value // _GIB}Gi", Complaint(what=what, allowed=allowed, hint=hint, is_soft=True)


def read_gpu_units(text: str, is_quoted: bool) -> Reading:
    """A number of GPUs: decimal digits only."""
    if text.isascii() and text.isdigit() and len(text) <= 19:
        return int(text), None
    return None, Complaint(what=f"{quote(text)} is not a number of GPUs", allowed="a whole number")


def read_amount(text: str, is_quoted: bool) -> Reading:
    """A price per block: above zero, at most 18 digits after the point."""
    allowed = f"a number above 0, at most {RATE_DIGITS} digits after the point"
    if not _AMOUNT.fullmatch(text):
        hint = (
            "write it without an exponent, a unit or a sign" if text[:1].isdigit() or text[:1] == "-" else ""
        )
        return None, Complaint(what=f"{quote(text)} is not a price", allowed=allowed, hint=hint)
    if len(text.partition(".")[2]) > RATE_DIGITS:
        return None, Complaint(what=f"{quote(text)} is too fine", allowed=allowed)
    amount = Decimal(text)
    if amount <= 0:
        return None, Complaint(what="a price of zero", allowed=allowed)
    return amount, None


def read_window(text: str, is_quoted: bool) -> Reading:
    """A span in milliseconds, from ``90s``, ``30m`` or ``24h``; Go's other forms are soft."""
    allowed = "a whole number of s, m or h, as 24h"
    if len(text) > LONGEST_NUMBER or not _GO_DURATION.fullmatch(text.lstrip("+")):
        return None, Complaint(what=f"{quote(text)} is not a span of time", allowed=allowed)
    span_ms = int(sum(float(number) * _MS[unit] for number, unit in _GO_PART.findall(text)))
    if span_ms <= 0:
        return None, Complaint(what="a window of no length", allowed=allowed)
    if not _WINDOW.fullmatch(text):
        what = f"{quote(text)} is not one number and one unit"
        return span_ms, Complaint(what=what, allowed=allowed, is_soft=True)
    return span_ms, None


def _yaml_number(digits: str) -> int | float:
    """Go's ``ParseInt(text, 0, 64)``, where a leading zero means octal, else a float."""
    if not _YAML_INT.fullmatch(digits):
        return float(digits)
    sign = -1 if digits.startswith("-") else 1
    body = digits.lstrip("+-")
    is_octal = len(body) > 1 and body[0] == "0" and body[1] in "01234567"
    return sign * (int(body, 8) if is_octal else int(body, 0))


def _scaled(text: str, factor: int, kind: str, allowed: str, *, shown: str = "") -> Reading:
    """``text`` x ``factor`` in double precision, cut to an integer, as Go's ``uint64(float * unit)``."""
    shown = shown or text
    if len(text) > LONGEST_NUMBER or not _FLOAT.fullmatch(text):
        return None, Complaint(what=f"{quote(shown)} is not {kind}", allowed=allowed)
    number = float(text) * factor
    if number < 0:
        return None, Complaint(what=f"{quote(shown)} is negative", allowed=allowed)
    if number >= 2**64:
        return None, Complaint(what=f"{quote(shown)} is too much", allowed=allowed)
    return int(number), None


def _unit_hint(text: str) -> str:
    """``512MB`` and ``512mi`` have a unit that nearly exists."""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    unit = text[len(number) :].strip().rstrip("Bb")
    if not unit or len(number) > LONGEST_NUMBER or not _FLOAT.fullmatch(number):
        return ""
    right = next((each for each in BYTE_UNITS if each.casefold() == unit.casefold()), "")
    right = "Mi" if unit == "m" else right
    return f'did you mean "{number}{right}"?' if right else ""
