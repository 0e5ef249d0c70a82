"""The markets that a provider is in: where their files are, and what is left of one that was left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from provider.app.config import MarketConfig, ProviderConfig
from provider.app.engine_settings import advertised_in
from provider.app.market_wiring import check_names
from provider.app.memberships import (
    LEFT,
    Memberships,
    check_all_are_known,
    folder_for,
    forget,
    memberships,
)
from provider.core.effects import ConfirmLease, PlaceBid
from provider.core.markets import leave, ties_to
from provider.core.state import Market
from provider.domain.errors import ConfigError
from provider.domain.ids import HOME, MarketId, ProviderId
from provider.domain.moment import HOUR, Instant
from provider.rpc import identity
from provider.rpc.member import Role
from provider.sim.authority import ThrowawayAuthority
from tests.agents import POLICY, START, Agent, healthy, order

ACME = MarketId("acme")


def joins(state: Path, market: str, name: str = "north", *, until: Instant | None = None) -> Path:
    folder = folder_for(state, market)
    identity.save(ThrowawayAuthority(market).member(Role.PROVIDER, name, at=START, until=until), folder)
    return folder


def ids(found: Memberships) -> list[tuple[str, str, str]]:
    return [(each.id, each.market, each.name) for each in found.all]


def test_the_first_markets_files_are_in_the_state_folder_and_later_ones_beside(tmp_path: Path) -> None:
    assert joins(tmp_path, "first") == tmp_path
    assert ids(memberships(tmp_path, START)) == [(HOME, "first", "north")]
    assert joins(tmp_path, "acme", "gpu-7") == tmp_path / "markets" / "acme"
    found = memberships(tmp_path, START)
    assert ids(found) == [(HOME, "first", "north"), ("acme", "acme", "gpu-7")]
    assert (found.provider, found.names) == ("north", {ACME: ProviderId("gpu-7")})
    assert {each.socket for each in found.all} == {
        tmp_path / "lease.sock",
        tmp_path / "markets" / "acme" / "lease.sock",
    }


def test_to_enrol_again_replaces_the_same_markets_identity(tmp_path: Path) -> None:
    joins(tmp_path, "first")
    joins(tmp_path, "acme")
    assert joins(tmp_path, "first") == tmp_path
    assert joins(tmp_path, "acme") == tmp_path / "markets" / "acme"
    assert len(memberships(tmp_path, START).all) == 2


def test_the_first_markets_place_is_given_once(tmp_path: Path) -> None:
    """What is kept of its leases must not become somebody else's of the same name."""
    joins(tmp_path, "first")
    joins(tmp_path, "acme", "gpu-7")
    found = memberships(tmp_path, START)
    forget(tmp_path, found.all[0])
    assert not (tmp_path / "identity.json").exists()
    after = memberships(tmp_path, START)
    assert ids(after) == [("acme", "acme", "gpu-7")]
    assert after.provider == "north", "containers and volumes are found by it"
    assert joins(tmp_path, "first") == tmp_path / "markets" / "first"
    forget(tmp_path, after.all[0])
    assert not (tmp_path / "markets" / "acme").exists()
    assert ids(memberships(tmp_path, START)) == [("first", "first", "north")]


def test_a_provider_that_left_all_markets_is_in_none(tmp_path: Path) -> None:
    joins(tmp_path, "first")
    forget(tmp_path, memberships(tmp_path, START).all[0])
    with pytest.raises(ConfigError, match="belongs to no market any more"):
        memberships(tmp_path, START)
    (tmp_path / LEFT).write_text("{}")
    with pytest.raises(ConfigError, match=LEFT):
        memberships(tmp_path, START)


def test_a_certificate_that_has_ended_keeps_only_its_own_market_away(tmp_path: Path) -> None:
    joins(tmp_path, "first", until=Instant(START + HOUR))
    with pytest.raises(ConfigError, match="expired"):
        memberships(tmp_path, Instant(START + 2 * HOUR))
    joins(tmp_path, "acme")
    assert len(memberships(tmp_path, Instant(START + 2 * HOUR)).all) == 2


def test_an_identity_in_the_folder_of_another_market_is_refused(tmp_path: Path) -> None:
    joins(tmp_path, "first")
    identity.save(ThrowawayAuthority("acme").member(Role.PROVIDER, "north", at=START), tmp_path / "markets/x")
    with pytest.raises(ConfigError, match="is for the market acme, not x"):
        memberships(tmp_path, START)


def test_leases_of_a_market_without_an_identity_keep_the_daemon_from_starting() -> None:
    agent = Agent(*healthy(0))
    agent.begin(1)
    check_all_are_known(agent.state)
    lease = agent.lease(1)
    there = replace(lease, id=lease.id.within(ACME))
    state = replace(agent.state, leases={there.id: there})
    with pytest.raises(ConfigError, match="leases of the market acme"):
        check_all_are_known(state)
    check_all_are_known(replace(state, policy=replace(POLICY, names={ACME: ProviderId("gpu-7")})))


@pytest.mark.parametrize(
    ("name", "remedy"), [("first", "use lease.listen"), ("acne", "name one of acme"), ("acme", "")]
)
def test_settings_are_for_markets_that_were_joined_later(tmp_path: Path, name: str, remedy: str) -> None:
    joins(tmp_path, "first")
    joins(tmp_path, "acme")
    config = ProviderConfig(markets={name: MarketConfig(listen="0.0.0.0:8444", advertise="gpu.example:1")})
    found = memberships(tmp_path, START)
    if not remedy:
        check_names(config, found)
        assert advertised_in(config, "acme") == "gpu.example:1"
        assert advertised_in(ProviderConfig(), "acme") == "", "they come through the coordinator"
        return
    with pytest.raises(ConfigError) as refused:
        check_names(config, found)
    assert refused.value.remedy == remedy


def test_what_ties_us_to_a_market_is_leases_and_what_it_has_not_heard() -> None:
    agent = Agent(*healthy(0, 1), policy=replace(POLICY, names={ACME: ProviderId("gpu-7")}))
    agent.begin(1)
    agent.opens(2)
    owed = tuple(each for each in agent.open.values() if isinstance(each, ConfirmLease | PlaceBid))
    assert {type(each) for each in owed} == {ConfirmLease, PlaceBid}
    assert ties_to(agent.state, owed, HOME) == ("1 lease(s)", "1 thing(s) still to be done or told")
    assert ties_to(agent.state, owed, ACME) == ()
    left = leave(agent.state, owed, ACME)
    assert (left.state.bids, left.settled) == (agent.state.bids, ())


def test_to_leave_takes_back_bids_and_forgets_orders_and_how_far_it_was_read() -> None:
    agent = Agent(*healthy(0))
    agent.opens(1)
    agent.opens(2)
    assert set(agent.state.bids) == {order(1).id.lease(POLICY.provider)}
    assert set(agent.state.orders) == {order(2).id}
    unfinished = tuple(agent.open.values())
    assert ties_to(agent.state, unfinished, HOME) == ()
    left = leave(agent.state, unfinished, HOME)
    assert (left.state.bids, left.state.orders, left.state.markets) == ({}, {}, {})
    assert left.settled == tuple(agent.open)
    assert left.state.market() == Market()
