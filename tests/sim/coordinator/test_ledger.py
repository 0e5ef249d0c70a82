"""The ledger under any sequence of transfers: nothing is lost, made, doubled or owed."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from provider.coordinator.denial import Denial
from provider.coordinator.escrow import AMOUNT_MAX, Account, Ledger, Transfer, apply
from provider.domain.moment import Instant
from provider.domain.money import Denom

ACCOUNTS = [
    Account(name=name, denom=denom)
    for name in ("tenant:alice", "escrow:alice/1", "provider:north")
    for denom in (Denom.UACT, Denom.UUSDC)
]
SUBJECTS = ["fund:1", "fund:2", "deposit:alice/1", "settle:alice/1/1/1/north"]
amounts = st.integers(-2, 50) | st.sampled_from([AMOUNT_MAX - 20, AMOUNT_MAX])


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.done: list[Transfer] = []
        self.issued = dict.fromkeys(Denom, 0)

    @rule(
        subject=st.sampled_from(SUBJECTS),
        number=st.integers(1, 30),
        payer=st.none() | st.sampled_from(ACCOUNTS),
        payee=st.sampled_from(ACCOUNTS),
        amount=amounts,
    )
    def transfer(self, subject: str, number: int, payer: Account | None, payee: Account, amount: int) -> None:
        made = Transfer(
            subject=subject, number=number, source=payer, target=payee, amount=amount, at=Instant(1)
        )
        before = self.ledger
        after = apply(before, made)
        if isinstance(after, Denial) or after is before:
            return
        if payer is None:
            self.issued[payee.denom] += amount
        else:
            assert before.balance(payer) - after.balance(payer) == amount
        assert after.balance(payee) - before.balance(payee) == amount
        self.ledger = after
        self.done.append(made)

    @precondition(lambda self: self.done)
    @rule(data=st.data(), at=st.integers(2, 9))
    def repeat(self, data: st.DataObject, at: int) -> None:
        """Any earlier transfer once more, at another time: the first outcome, or a denial."""
        made = replace(data.draw(st.sampled_from(self.done)), at=Instant(at))
        latest = self.ledger.latest[made.subject]
        outdated = made.number < latest.number
        assert apply(self.ledger, made) == (Denial.TRANSFER_OUTDATED if outdated else self.ledger)

    @precondition(lambda self: self.done)
    @rule(data=st.data())
    def reuse(self, data: st.DataObject) -> None:
        """A name that was used, with another amount."""
        made = data.draw(st.sampled_from(self.done))
        other = apply(self.ledger, replace(made, amount=made.amount + 1))
        assert other in {Denial.TRANSFER_DIFFERS, Denial.TRANSFER_OUTDATED}

    @invariant()
    def nothing_is_owed(self) -> None:
        assert all(self.ledger.balance(account) >= 0 for account in ACCOUNTS)

    @invariant()
    def what_was_issued_is_there(self) -> None:
        for denom in Denom:
            held = sum(self.ledger.balance(account) for account in ACCOUNTS if account.denom is denom)
            assert held == self.issued[denom] == (self.ledger.issued.get(denom) or 0)
            assert held <= AMOUNT_MAX


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=40)
