"""What the marketplace calls a GPU: ``NVIDIA H100 80GB HBM3`` -> ``h100``, ``sxm``.

Owns the rule, and only that: which GPUs exist is never listed, so a card that nobody has heard of yet
gets a name too. The rule is: leave out maker, brand and size, write the rest together in lower case.
The spellings were held against the marketplace's own device registry (akash-network/provider-configs,
``devices/pcie/gpus.json``) and console; ``tests/unit/gpu/test_gpu_models.py`` has the table.

Invariant: total and deterministic; a name without any letter or digit becomes ``unknown``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuKind:
    """A model in the marketplace's spelling and how it is plugged in: ``sxm``, ``pcie``, or None."""

    model: str
    interface: str | None


_ASIDE = re.compile(r"\(.*?\)|\bMIG \d.*$|\bwith\b|\bdesign\b", re.IGNORECASE)
"""``TITAN X (Pascal)``, ``A100-SXM4-40GB MIG 1g.5gb``, ``GTX 1070 with Max-Q Design``."""
_SIZE = re.compile(r"\d+(g|gb|gi|gib)|(hbm|gddr)\d\w*")
_FORM = re.compile(r"sxm\d?|pcie|nvl|fhhl|dgxs|ac|lc")
"""How it is built: module, card, bridged card, short card, DGX Station, air- or liquid-cooled."""
_BRAND = frozenset(
    {"simulated", "nvidia", "geforce", "quadro", "tesla", "graphics", "device", "gpu", "generation"}
)
_BLACKWELL_PRO = re.compile(r"rtxpro(\d+)blackwell(.*)")
"""The marketplace writes ``pro6000se`` and ``pro6000we`` for Server and Workstation Edition."""
_EDITIONS = {"server edition": "se", "workstation edition": "we", "edition": ""}

_MODULES = frozenset({"b100", "b200", "b300", "h20", "h200", "h800"})
"""Sold as modules; their card versions say ``PCIe`` or ``NVL``."""
_CARDS = frozenset(
    {"a2", "a10", "a10g", "a10m", "a16", "a30", "a40", "l2", "l4", "l20", "l40", "l40g", "l40s"}
    | {"t4", "t4g", "p4", "p40", "m4", "m40", "m60", "k40", "k80", "pg506232"}
)
"""Data-centre parts that were only ever made as cards."""
_CARD_FAMILIES = re.compile(r"(gtx?|rtxa?|titan|cmp|pro)[\drxvpbz]|quadro|[pmk]\d000$|t\d{3,4}$")
_SOLDERED = re.compile(r"laptop|maxq$|mobile|^mx\d")
_FUSED_WITH_CPU = re.compile(r"^g[bh]\d|^orin|^thor")


def gpu_kind(name: str) -> GpuKind:
    """The marketplace's reading of a name as NVML prints it."""
    plain = _ASIDE.sub(" ", name).lower()
    model = _model(plain)
    return GpuKind(model=model, interface=_interface(plain, model))


def _words(plain: str) -> list[str]:
    return re.findall(r"[a-z0-9.]+", plain.replace("max-q", "maxq"))


def _model(plain: str) -> str:
    for edition, short in _EDITIONS.items():
        plain = plain.replace(edition, short)
    kept = [
        word
        for word in _words(plain)
        if word not in _BRAND and not _SIZE.fullmatch(word) and not _FORM.fullmatch(word)
    ]
    model = "".join(kept).replace(".", "")
    pro = _BLACKWELL_PRO.fullmatch(model)
    return (f"pro{pro[1]}{pro[2]}" if pro else model) or "unknown"


def _interface(plain: str, model: str) -> str | None:
    words = _words(plain)
    if any(word in ("pcie", "nvl", "fhhl") for word in words):
        return "pcie"
    if any(re.fullmatch(r"sxm\d?", word) for word in words):
        return "sxm"
    if _FUSED_WITH_CPU.search(model) or _SOLDERED.search(model):
        return None
    if model in _MODULES or any(word.startswith("hbm3") for word in words):
        return "sxm"
    if model in _CARDS or _CARD_FAMILIES.match(model):
        return "pcie"
    return None
