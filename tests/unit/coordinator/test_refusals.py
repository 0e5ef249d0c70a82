"""Every denial has a code on the wire, and its facts travel with it."""

from __future__ import annotations

import pytest

from provider.coordinator.denial import Denial, Denied
from provider.coordinator.market.permission import token_denied
from provider.coordinator.market.requests import CloseDeployment
from provider.coordinator.refusals import CODES, error_of, granted
from provider.coordinator.rows import Done
from provider.domain.ids import Owner
from provider.rpc import status
from tests.market import ALICE, BOB, Market


def test_every_denial_has_a_code() -> None:
    assert set(CODES) == set(Denial)


def test_a_denial_is_raised_with_its_name_and_both_lines() -> None:
    denied = Denied(why=Denial.FUNDS_SHORT, what="too little", remedy="fund it")
    with pytest.raises(status.Denied) as caught:
        granted(denied, Done)
    error = error_of(denied)
    assert (caught.value.reason, caught.value.what, caught.value.remedy) == (
        error.reason,
        error.what,
        error.remedy,
    )
    assert error.reason == "FUNDS_SHORT"
    assert granted(Done(), Done) == Done()


def test_tokens_are_for_owners_of_leases_that_run_and_for_a_look_at_those_that_end() -> None:
    market = Market()
    market.populate()
    lease = market.lease()

    def why(owner: Owner, *scopes: str) -> Denial | None:
        denied = token_denied(market.book, owner, lease, frozenset(scopes))
        return denied.why if denied else None

    assert why(ALICE, "manifest", "status", "logs", "exec", "files", "restart") is None
    assert why(BOB, "logs") is Denial.LEASE_UNKNOWN
    assert why(ALICE) is Denial.SCOPE_UNKNOWN
    assert why(ALICE, "logs", "root") is Denial.SCOPE_UNKNOWN
    market.ask(CloseDeployment(owner=ALICE, key="c", deployment=lease.deployment))
    assert why(ALICE, "status", "logs") is None
    assert why(ALICE, "logs", "exec") is Denial.LEASE_NOT_ACTIVE
    market.used(lease, 1, 0, final=True)
    assert why(ALICE, "status", "logs") is None  # its provider keeps them for a while
    for scope in ("manifest", "exec", "files", "restart"):
        assert why(ALICE, scope) is Denial.LEASE_NOT_ACTIVE
