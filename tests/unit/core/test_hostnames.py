"""Host names: a lease's own, its tenant's, who may have one, how they move and when they are free again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provider.core import hostnames, launching, placement, revising
from provider.core.lease import Phase
from provider.core.policy import IngressPolicy
from provider.domain.market import Placement, Refusal
from tests.agents import node
from tests.named import DOMAIN, INGRESS, Port, Provider, awarded, lease_id, manifest_of, running, state

SHOP = "shop.example.org"
ONE = {"web": [Port(hosts=(SHOP,))]}


def served(world: Provider) -> dict[str, tuple[str, str, int]]:
    """Name to owner/dseq, service and port."""
    table = hostnames.table(world.state)
    return {name: (str(each.lease.deployment), each.service, each.port) for name, each in table.items()}


def given(world: Provider) -> dict[str, str]:
    """The tenants' names only, and whose they are."""
    return {name: lease for name, (lease, _, _) in served(world).items() if not name.endswith(DOMAIN)}


# --- a lease's own names


def test_one_http_port_is_served_under_the_leases_key() -> None:
    world = Provider(state())
    assert world.takes(1, {"web": [Port(), Port(port=9000, external_port=9000)]}) is None
    assert served(world) == {f"{lease_id(1).key}.{DOMAIN}": ("alice/1", "web", 8080)}


def test_several_are_served_under_their_services_names() -> None:
    world = Provider(state())
    assert world.takes(1, {"api": [Port(), Port(port=9000)], "web": [Port(port=80)]}) is None
    key = lease_id(1).key
    assert served(world) == {
        f"api-8080-{key}.{DOMAIN}": ("alice/1", "api", 8080),
        f"api-9000-{key}.{DOMAIN}": ("alice/1", "api", 9000),
        f"web-{key}.{DOMAIN}": ("alice/1", "web", 80),
    }


def test_a_label_of_a_long_service_name_is_cut_and_stays_its_own() -> None:
    one, other = "a" * 60 + "one", "a" * 60 + "two"
    world = Provider(state(running(1, {one: [Port()], other: [Port()]})))
    names = list(served(world))
    assert len(set(names)) == 2
    assert all(len(name.partition(".")[0]) == 63 for name in names)


def test_without_an_ingress_nothing_has_a_name() -> None:
    world = Provider(state(ingress=None))
    assert world.takes(1, {"web": [Port(hosts=("blocked.example.org",))]}) is None
    assert served(world) == {}
    assert world.state.leases[lease_id(1)].hostnames == ()


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (INGRESS, f"http://{SHOP}"),
        (IngressPolicy(domain=DOMAIN, scheme="https", port=8443), f"https://{SHOP}:8443"),
    ],
)
def test_a_tenant_is_told_where_a_service_is_reached(policy: IngressPolicy, expected: str) -> None:
    lease = running(1, ONE, hostnames=(SHOP,))
    told = hostnames.uris(state(lease, ingress=policy), lease, "web")
    assert told == (policy.uri(f"{lease.id.key}.{DOMAIN}"), expected)
    assert hostnames.uris(state(lease, ingress=None), lease, "web") == ()


# --- a tenant's names


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("localhost", Refusal.HOSTNAME_INVALID),
        ("10.0.0.1", Refusal.HOSTNAME_INVALID),
        (DOMAIN, Refusal.HOSTNAME_BLOCKED),
        (f"other.{DOMAIN}", Refusal.HOSTNAME_BLOCKED),
        ("blocked.example.org", Refusal.HOSTNAME_BLOCKED),
        ("bank.example", Refusal.HOSTNAME_BLOCKED),
        ("login.bank.example", Refusal.HOSTNAME_BLOCKED),
    ],
)
def test_names_that_nobody_gets(name: str, why: Refusal) -> None:
    world = Provider(state())
    refused = world.takes(1, {"web": [Port(hosts=(name,))]})
    assert refused is not None
    assert refused.why is why
    assert name in str(refused)
    assert world.state.leases[lease_id(1)].phase is Phase.AWARDED
    assert served(world) == {}


@pytest.mark.parametrize("name", ["sub.blocked.example.org", "mybank.example", f"x{DOMAIN}"])
def test_names_that_only_look_blocked(name: str) -> None:
    assert Provider(state()).takes(1, {"web": [Port(hosts=(name,))]}) is None


def test_its_own_name_may_be_asked_for_too() -> None:
    world = Provider(state())
    own = f"{lease_id(1).key}.{DOMAIN}"
    assert world.takes(1, {"web": [Port(hosts=(own,))]}) is None
    assert served(world) == {own: ("alice/1", "web", 8080)}


def test_another_leases_own_name_is_not_to_be_had() -> None:
    refused = Provider(state()).takes(1, {"web": [Port(hosts=(f"{lease_id(2).key}.{DOMAIN}",))]})
    assert refused is not None
    assert refused.why is Refusal.HOSTNAME_BLOCKED


def test_another_tenant_cannot_take_a_name_that_is_used() -> None:
    world = Provider(state())
    assert world.takes(1, ONE) is None
    refused = world.takes(2, ONE, owner="mallory")
    assert refused is not None
    assert (refused.why, refused.required) == (Refusal.HOSTNAME_TAKEN, SHOP)
    assert "alice" not in str(refused), "whose it is stays theirs"
    assert given(world) == {SHOP: "alice/1"}
    world.drop(1)
    assert world.takes(2, ONE, owner="mallory") is None
    assert given(world) == {SHOP: "mallory/2"}


def test_a_lease_that_is_being_ended_has_let_go_of_its_names() -> None:
    world = Provider(state(replace(running(1, ONE, hostnames=(SHOP,)), phase=Phase.STOPPING)))
    assert served(world) == {}
    assert world.takes(2, ONE, owner="mallory") is None


def test_a_name_that_waits_is_its_owners_all_the_same() -> None:
    """Bob's second lease asks for what his first has: nobody else gets it when the first ends."""
    world = Provider(state())
    assert world.takes(1, ONE) is None
    assert world.takes(2, ONE) is None
    assert given(world) == {SHOP: "alice/1"}
    world.drop(1)
    assert given(world) == {SHOP: "alice/2"}
    refused = world.takes(3, ONE, owner="mallory")
    assert refused is not None
    assert refused.why is Refusal.HOSTNAME_TAKEN


def test_names_of_ports_that_are_not_http_mean_nothing() -> None:
    world = Provider(state())
    assert world.takes(1, {"web": [Port(external_port=8080, hosts=(SHOP,))]}) is None
    assert world.takes(2, ONE, owner="mallory") is None
    assert given(world) == {SHOP: "mallory/2"}


# --- updates


def test_an_update_gives_and_takes_names() -> None:
    world = Provider(state(running(1, ONE, hostnames=(SHOP,))))
    assert world.updates(1, {"web": [Port(hosts=("new.example.org",))]}) is None
    assert given(world) == {"new.example.org": "alice/1"}
    refused = world.takes(2, ONE, owner="mallory")
    assert refused is not None, "what ran before may run again, with its name"
    lease = world.state.leases[lease_id(1)]
    back = revising.restored(lease, "it failed")
    world.state = replace(world.state, leases={**world.state.leases, lease.id: back})
    assert given(world) == {SHOP: "alice/1"}


def test_an_update_that_proved_itself_frees_what_it_no_longer_asks_for() -> None:
    world = Provider(state(running(1, ONE, hostnames=(SHOP,))))
    assert world.updates(1, {"web": [Port(hosts=("new.example.org",))]}) is None
    lease = replace(world.state.leases[lease_id(1)], former=None)
    world.state = replace(world.state, leases={**world.state.leases, lease.id: lease})
    assert world.takes(2, ONE, owner="mallory") is None
    refused = world.updates(1, ONE, image="again")
    assert refused is not None
    assert refused.why is Refusal.HOSTNAME_TAKEN
    assert given(world) == {SHOP: "mallory/2", "new.example.org": "alice/1"}


def test_an_update_does_not_take_back_what_was_moved_away() -> None:
    world = Provider(state(running(1, ONE, hostnames=(SHOP,)), running(2, ONE)))
    assert world.migrates(lease_id(1), lease_id(2), SHOP) is None
    assert world.updates(1, ONE, image="another") is None
    assert given(world) == {SHOP: "alice/2"}


# --- migration


def test_a_name_moves_between_leases_of_one_tenant_and_back() -> None:
    world = Provider(state())
    assert world.takes(1, ONE) is None
    assert world.takes(2, ONE) is None
    assert world.migrates(lease_id(1), lease_id(2), SHOP) is None
    assert given(world) == {SHOP: "alice/2"}
    assert world.migrates(lease_id(1), lease_id(2), SHOP) is None, "twice is once"
    assert given(world) == {SHOP: "alice/2"}
    world.drop(2)
    assert given(world) == {SHOP: "alice/1"}, "the first still asks for it"


def test_names_move_all_or_none() -> None:
    two = {"web": [Port(hosts=(SHOP, "other.example.org"))]}
    world = Provider(state())
    assert world.takes(1, two) is None
    assert world.takes(2, ONE) is None
    before = world.state
    refused = world.migrates(lease_id(1), lease_id(2), SHOP, "other.example.org")
    assert refused is not None
    assert (refused.why, refused.required) == (Refusal.HOSTNAME_UNKNOWN, "other.example.org")
    assert world.state.leases == before.leases


def test_only_ones_own_names_move() -> None:
    world = Provider(state())
    assert world.takes(1, ONE) is None
    assert world.takes(2, {"web": [Port(hosts=("m.example.org",))]}, owner="mallory") is None
    stolen = world.migrates(lease_id(1), lease_id(2, "mallory"), SHOP)
    assert stolen is not None
    assert stolen.why is Refusal.LEASE_UNKNOWN
    unknown = world.migrates(lease_id(1), lease_id(7), SHOP)
    assert unknown is not None
    assert unknown.why is Refusal.LEASE_UNKNOWN
    assert world.takes(3, {"web": [Port(hosts=("x.example.org",))]}) is None
    nobodys = world.migrates(lease_id(1), lease_id(3), "nobody.example.org")
    assert nobodys is not None
    assert nobodys.why is Refusal.HOSTNAME_UNKNOWN
    assert given(world)[SHOP] == "alice/1"


# --- ports


def test_with_an_ingress_http_ports_take_no_host_port() -> None:
    ports = {"web": [Port(), Port(port=9000, external_port=9000)]}
    spec = awarded(1, ports).group
    with_one = replace(state(), nodes=(node(),))
    without = replace(state(ingress=None), nodes=(node(),))
    placed, published = placement.place(with_one, spec), placement.place(without, spec)
    assert isinstance(placed, Placement)
    assert isinstance(published, Placement)
    assert (len(placed.host_ports), len(published.host_ports)) == (1, 2)
    (group,) = manifest_of(ports).groups
    (only,) = launching.port_bindings(group, placed.host_ports)
    assert (only.port, only.host_port) == (9000, placed.host_ports[0])
    assert len(launching.port_bindings(group, published.host_ports)) == 2


def test_a_lease_of_before_keeps_its_port_when_the_ingress_is_turned_on() -> None:
    world = Provider(state())
    assert world.takes(1, ONE) is None
    assert [port.port for port in world.state.leases[lease_id(1)].ports] == [8080]


def test_a_service_is_told_the_names_that_it_asks_for() -> None:
    lease = running(1, {"api": [Port()], "web": [Port(hosts=(SHOP,))]})
    made = launching.launch(lease, state().policy)
    key = lease.id.key
    assert {each.service.name: each.hostnames for each in made.replicas} == {
        "api": (f"api-{key}.{DOMAIN}",),
        "web": (f"web-{key}.{DOMAIN}", SHOP),
    }
    without = launching.launch(lease, state(ingress=None).policy)
    assert {each.hostnames for each in without.replicas} == {()}
