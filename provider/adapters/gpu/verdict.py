"""What the worker's messages say about whether each card may be trusted.

Owns the rules; pure, no clock and no process (``rows`` has the step from messages to values). They are the
ones that need no history beyond a few sweeps: lost, failing, hung, MIG on, driver away. Thresholds over
hours, ECC, Xids and their hold times are a table of their own.

Invariant: nothing that only blinds us is worse than ``DEGRADED``, so it never ends a lease.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from provider.adapters.gpu.policy import RESET_REQUIRED, Treatment, meaning, treatment
from provider.adapters.gpu.rows import Row
from provider.domain.gpu import Gpu, GpuHealth, MigSlice

QUICK_SWEEPS = 5
"""So many in a row, and a card that was slow is not any more."""
SUSPECT_SWEEPS = 3
"""So many failing sweeps in a row make a card suspect, so many clean ones clear it."""
MIG_IS_ON = "MIG is on: its instances are offered, and the card is not sold whole"
MIG_IS_EMPTY = "MIG is on and there are no instances: make some with nvidia-smi mig, or turn it off"
SHARES_MEMORY = "it shares its memory with another compute instance of the same GPU instance"


@dataclass(slots=True)
class CardRecord:
    """What is remembered of one card between messages."""

    lost: str | None = None
    """Why it is gone, until an inventory opens it again."""
    failing_sweeps: int = 0
    clean_sweeps: int = 0
    suspect: str | None = None
    is_reset_needed: bool = False
    is_corrupt: bool | None = None
    """Its InfoROM, as the last check or the last call said that had a word on it."""
    slow: str | None = None
    quick_sweeps: int = 0
    hung: str | None = None
    """The call that did not return, until the card is tried again and answers."""

    def judge(self, gpu: Gpu, flawed: str | None, card: CardRecord | None = None) -> Gpu:
        """``gpu`` with the worst that holds against it; what holds against its ``card`` holds against it."""
        gpu = replace(gpu, is_inforom_corrupt=self.is_corrupt, slow_call=self.slow)
        lost = self.lost or (card and card.lost)
        if lost:
            is_reset_needed = (self if self.lost or card is None else card).is_reset_needed
            return replace(gpu, health=GpuHealth.UNHEALTHY, problem=lost, is_reset_needed=is_reset_needed)
        problem = self.hung or self.suspect or (card and (card.hung or card.suspect)) or flawed
        return replace(gpu, health=GpuHealth.DEGRADED if problem else GpuHealth.HEALTHY, problem=problem)

    def note(self, trouble: list[tuple[str, int]], slow: tuple[str, float] | None = None) -> None:
        """One sweep's failures on this card, and a call that took too long: its name and the seconds."""
        failing = None
        for symbol, code in trouble:
            if treatment(code) is Treatment.LOST:
                self.lost = f"{meaning(code)} ({symbol})"
                self.is_reset_needed = code == RESET_REQUIRED
            if treatment(code) is Treatment.CORRUPT:
                self.is_corrupt = True
            if treatment(code) is Treatment.SUSPECT:
                failing = f"{symbol} keeps failing: {meaning(code)}"
        self.failing_sweeps = self.failing_sweeps + 1 if failing else 0
        self.clean_sweeps = 0 if failing else self.clean_sweeps + 1
        self.quick_sweeps = 0 if slow else self.quick_sweeps + 1
        if slow:
            self.slow = f"{slow[0]} took {slow[1]:.1f} s"
        elif self.quick_sweeps >= QUICK_SWEEPS:
            self.slow = None
        if self.failing_sweeps >= SUSPECT_SWEEPS:
            self.suspect = failing
        if self.clean_sweeps >= SUSPECT_SWEEPS:
            self.suspect = None


def flaw(gpu: Gpu, all_found: Iterable[Gpu]) -> str | None:
    """What holds against it by what it is, whoever reads it: why it is not sold as it is."""
    if gpu.problem:
        return gpu.problem
    of_it = [
        each.mig for each in all_found if each.mig is not None and gpu.uuid in (each.uuid, each.mig.parent)
    ]
    if gpu.mig is None:
        if not gpu.is_mig_on:
            return None
        return MIG_IS_ON if of_it else MIG_IS_EMPTY
    return SHARES_MEMORY if _is_shared(gpu.mig, all_found) else None


def _is_shared(mig: MigSlice, all_found: Iterable[Gpu]) -> bool:
    """Memory is the GPU instance's: compute instances of the same one are not kept apart."""
    place = (mig.parent, mig.gpu_instance)
    return sum((each.mig.parent, each.mig.gpu_instance) == place for each in all_found if each.mig) > 1


def nameless(rows: list[Row], known: set[int]) -> str | None:
    """One line on the cards that cannot be opened and were never seen, so that nothing can name them."""
    if not rows:
        return "the NVIDIA driver is loaded but sees no GPU"
    dead = [row for row in rows if "uuid" not in row and row["index"] not in known]
    if not dead:
        return None
    reasons = ", ".join(f"index {row['index']}: {_why_dead(row)}" for row in dead)
    return f"{len(dead)} of {len(rows)} GPUs cannot be read ({reasons})"


def _why_dead(row: Row) -> str:
    return meaning(row["trouble"][0][1]) if row["trouble"] else "left alone after a call on it hung"
