"""Leases' firewall rules as text: what is in them for which setting, and in which order."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from provider.adapters.runtime.egress import resolvers, ruleset, table
from provider.adapters.runtime.egress.place import Place
from provider.adapters.runtime.egress.ruleset import Rules
from provider.adapters.runtime.egress.settings import Destination, NetworkSettings
from provider.domain.errors import ConfigError, Temporary
from provider.domain.ids import ProviderId

A, B = "gp-aaaaaaaaaaaa", "gp-bbbbbbbbbbbb"
PLAIN = NetworkSettings()
RESOLVER = IPv4Address("192.168.1.53")


def chain(name: str, rules: Rules) -> list[str]:
    """The lines of one chain."""
    text = ruleset.whole("gp-p1", rules, {})
    block = re.search(rf"chain {name} {{\n(.*?)\n  }}", text, re.DOTALL)
    assert block is not None
    return [line.strip() for line in block[1].splitlines()]


def members(name: str, text: str) -> list[str]:
    """The elements of one set."""
    block = re.search(rf"set {name} {{[^{{]*elements = {{ (.*?) }};", text)
    return block[1].split(", ") if block else []


LINES = [
    # what is set, in which chain, and the line that is there then and only then
    ({"smtp": False}, "outbound", "tcp dport 25"),
    ({"connections_most": 7}, "outbound", "ct state new add @connections { iifname ct count over 7 } drop"),
    (
        {"connections_most": 7},
        "inbound",
        "ct status dnat ct state new add @connections { oifname ct count over 7",
    ),
    ({"upload_mbit": 8}, "outbound", "update @upload { iifname limit rate over 1000000 bytes/second } drop"),
    ({"upload_mbit": 8}, "to_host", "update @upload { iifname limit rate over 1000000 bytes/second } drop"),
    ({"allow": ("10.1.2.3",)}, "outbound", "ip daddr 10.1.2.3/32 accept"),
    (
        {"allow": ("10.1.2.0/24:443",)},
        "outbound",
        "ip daddr 10.1.2.0/24 meta l4proto { tcp, udp } th dport { 443 } accept",
    ),
    ({"deny": ("8.8.8.0/24",)}, "outbound", "ip daddr 8.8.8.0/24 reject"),
    ({"deny": ("8.8.8.8:80,8000-8100",)}, "outbound", "th dport { 80, 8000-8100 } reject"),
]
OTHERWISE = NetworkSettings(smtp=True, connections_most=0)


@pytest.mark.parametrize(("changed", "name", "line"), LINES)
def test_a_setting_has_its_line(changed: dict[str, object], name: str, line: str) -> None:
    parsed = {
        key: tuple(Destination.parse(text, key) for text in value) if isinstance(value, tuple) else value
        for key, value in changed.items()
    }
    settings = replace(OTHERWISE, **parsed)  # type: ignore[arg-type]

    assert any(line in each for each in chain(name, Rules(settings=settings)))
    assert not any(line in each for each in chain(name, Rules(settings=OTHERWISE)))


def test_the_order_says_who_wins() -> None:
    settings = NetworkSettings(
        allow=(Destination.parse("10.0.0.0/8", "allow"),), deny=(Destination.parse("10.9.0.0/16", "deny"),)
    )
    lines = chain("outbound", Rules(settings=settings, resolvers=(RESOLVER,)))

    def at(part: str) -> int:
        (found,) = [number for number, line in enumerate(lines) if part in line]
        return found

    order = [
        at("ipv6 drop"),
        at("@connections"),
        at("@own accept"),
        at("ct direction reply accept"),
        at("ct state invalid drop"),
        at("fib saddr"),  # nobody sends as somebody else
        at('oifname "gp-*" reject'),  # no list opens another lease
        at("@resolvers"),  # names are found whatever is denied
        at("10.9.0.0/16 reject"),
        at("10.0.0.0/8 accept"),
        at("@barred reject"),
        at("tcp dport 25 reject"),
    ]
    assert order == sorted(order)
    assert lines[-1] == "accept"


def test_whatever_is_not_let_in_is_kept_out() -> None:
    for settings in (PLAIN, OTHERWISE):
        rules = Rules(settings=settings, resolvers=(RESOLVER,))
        assert chain("inbound", rules)[-1] == "drop"
        assert chain("to_host", rules)[-1].startswith("reject")


def test_no_list_opens_the_host() -> None:
    settings = replace(PLAIN, allow=(Destination.parse("0.0.0.0/0", "allow"),))

    assert chain("to_host", Rules(settings=settings)) == chain("to_host", Rules(settings=PLAIN))


def test_only_packets_of_leases_meet_a_rule() -> None:
    text = ruleset.whole("gp-p1", Rules(settings=PLAIN), {A: frozenset()})

    assert chain("forward", Rules(settings=PLAIN))[1:] == [
        "iifname @leases goto outbound",
        "oifname @leases goto inbound",
    ]
    assert chain("input", Rules(settings=PLAIN))[1:] == ["iifname @leases goto to_host"]
    assert text.count("hook ") == text.count("policy accept;") == 2


def test_networks_on_the_hosts_own_links_are_barred() -> None:
    rules = Rules(settings=PLAIN, neighbours=(IPv4Network("203.0.113.0/24"),))

    barred = members("barred", ruleset.whole("gp-p1", rules, {}))

    assert {"203.0.113.0/24", "10.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16"} <= set(barred)


def test_changes_turn_one_set_of_leases_into_another() -> None:
    before = ruleset.elements({A: frozenset({("tcp", 31000)})})
    after = ruleset.elements({B: frozenset({("udp", 31001)})})

    assert ruleset.changes("gp-p1", before, before) == ""
    assert ruleset.changes("gp-p1", before, after).splitlines() == [
        f'add element inet gp-p1 leases {{ "{B}" }}',
        f'delete element inet gp-p1 leases {{ "{A}" }}',
        f'add element inet gp-p1 own {{ "{B}" . "{B}" }}',
        f'delete element inet gp-p1 own {{ "{A}" . "{A}" }}',
        f'add element inet gp-p1 published {{ "{B}" . udp . 31001 }}',
        f'delete element inet gp-p1 published {{ "{A}" . tcp . 31000 }}',
    ]


def test_providers_have_tables_of_their_own() -> None:
    assert ruleset.table_name(ProviderId("p1")) != ruleset.table_name(ProviderId("p2"))


@pytest.mark.parametrize(
    ("text", "network", "ports"),
    [
        ("10.1.2.3", "10.1.2.3/32", ()),
        ("10.1.2.0/24", "10.1.2.0/24", ()),
        ("10.1.2.3:443", "10.1.2.3/32", ((443, 443),)),
        (" 0.0.0.0/0:80,8000-8100 ", "0.0.0.0/0", ((80, 80), (8000, 8100))),
    ],
)
def test_a_destination_is_read(text: str, network: str, ports: tuple[tuple[int, int], ...]) -> None:
    assert Destination.parse(text, "allow") == Destination(network=IPv4Network(network), ports=ports)


@pytest.mark.parametrize(
    "text",
    [
        *("", "lan", "10.1.2.3/33", "10.1.2.3/24", "10.1.2.3:", "10.1.2.3:0", "10.1.2.3:65536"),
        *("10.1.2.3:90-80", "10.1.2.3:a", "fd00::/8", "::1", "10.1.2.3 } accept; drop"),
    ],
)
def test_what_is_no_destination_is_refused_with_the_settings_name(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^network\.allow: ") as refused:
        Destination.parse(text, "network.allow")
    assert refused.value.remedy


def listed(*objects: dict[str, object]) -> str:
    return json.dumps({"nftables": [{"metainfo": {}}, *objects]})


def a_set(name: str, *held: object, handle: int = 1) -> dict[str, object]:
    return {"set": {"name": name, "handle": handle, "elem": list(held)}}


def a_rule(verdict: str, handle: int = 1) -> dict[str, object]:
    return {"rule": {"chain": "outbound", "handle": handle, "expr": [{verdict: None}]}}


def test_what_a_table_does_is_its_fingerprint() -> None:
    base = table.parse(listed(a_set("barred", "10.0.0.1"), a_rule("accept"), a_rule("drop"))).fingerprint

    def differs(*objects: dict[str, object]) -> bool:
        return table.parse(listed(*objects)).fingerprint != base

    assert not differs(a_set("barred", "10.0.0.1", handle=9), a_rule("accept", 8), a_rule("drop", 7))
    assert differs(a_set("barred", "10.0.0.1"), a_rule("drop"), a_rule("accept"))
    assert differs(a_set("barred", "10.0.0.1"), a_rule("accept"))
    assert differs(a_set("barred"), a_rule("accept"), a_rule("drop"))


def test_elements_that_follow_the_leases_are_read_as_they_are_written() -> None:
    wanted = ruleset.elements({A: frozenset({("tcp", 31000), ("udp", 31000)})})
    text = listed(
        a_set("leases", A),
        a_set("own", {"concat": [A, A]}),
        a_set("published", {"concat": [A, "tcp", 31000]}, {"concat": [A, "udp", 31000]}),
    )

    assert table.parse(text).elements == wanted
    assert table.parse(text).fingerprint == table.parse(listed(*map(a_set, wanted))).fingerprint


@pytest.mark.parametrize("text", ["", "[]", '{"nftables": [{"set": {}}]}', "Error"])
def test_a_listing_that_is_none_is_temporary(text: str) -> None:
    with pytest.raises(Temporary, match="nft lists tables"):
        table.parse(text)


def test_resolvers_are_the_first_that_a_container_reaches(tmp_path: Path) -> None:
    stub, real = tmp_path / "stub", tmp_path / "real"
    stub.write_text("# stub\nnameserver 127.0.0.53\noptions edns0\n")
    real.write_text("nameserver fe80::1\nnameserver 192.168.1.53\nnameserver 9.9.9.9\nnameserver nonsense\n")

    assert resolvers.of_host((stub, real)) == (RESOLVER, IPv4Address("9.9.9.9"))
    assert resolvers.of_host((stub,)) == ()
    assert resolvers.of_host((tmp_path / "none",)) == ()


def test_neighbours_are_public_networks_without_a_gateway(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    rows = (
        ("eth0", "0.0.0.0", "203.0.113.1", "0.0.0.0"),
        ("eth0", "203.0.113.0", "0.0.0.0", "255.255.255.0"),  # on the link
        ("eth0", "192.168.1.0", "0.0.0.0", "255.255.255.0"),  # barred anyway
        ("eth0", "198.51.100.0", "203.0.113.9", "255.255.255.0"),  # behind a gateway
        ("tun0", "128.0.0.0", "0.0.0.0", "128.0.0.0"),  # a tunnel's half of everything
        (A, "11.0.0.0", "0.0.0.0", "255.255.255.240"),  # a lease's own
    )
    lines = [
        f"{name}\t{_hex(to)}\t{_hex(via)}\t1\t0\t0\t0\t{_hex(mask)}\t0\t0\t0" for name, to, via, mask in rows
    ]
    (tmp_path / "net/route").write_text("Iface\n" + "\n".join(lines) + "\n")

    assert Place(process=tmp_path).neighbours() == (IPv4Network("203.0.113.0/24"),)


def _hex(address: str) -> str:
    """As the kernel prints it on a machine of this byte order."""

    return f"{int.from_bytes(IPv4Address(address).packed, sys.byteorder):08X}"
