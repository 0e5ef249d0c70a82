"""The rules of a provider's leases as text for ``nft``. Pure.

One table a provider, chains at the hooks ``forward`` and ``input`` ahead of every other filter: ``drop`` and
``reject`` in a base chain are final, ``accept`` leaves the packet to the engine's own chains behind us. So
these rules hold whatever the engine writes, with iptables or nftables.

Invariant: only packets that come from or go to a bridge in the set ``leases`` meet any rule. Nothing here can
cut the machine itself off.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from provider.adapters.runtime.egress.settings import BYTES, Destination, NetworkSettings
from provider.domain.ids import ProviderId

Port = tuple[str, int]
"""``tcp`` or ``udp``, and a port of the host."""
Bridges = Mapping[str, frozenset[Port]]
"""The bridges of leases, each with the host's ports on which its lease is published."""
Elements = Mapping[str, frozenset[str]]
"""Elements of the sets that follow the leases, as ``nft`` writes them."""

BRIDGES = "gp-*"
"""Every lease's bridge, of any provider on the machine (``naming.network_name``)."""
BARRED = tuple(
    ipaddress.IPv4Network(each)
    for each in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
"""Never the internet: IANA's registry of special-purpose addresses (RFC 6890) and multicast, without those
for documentation. 169.254.169.254, where clouds keep their machines' secrets, is among them."""
REFUSE = "reject with icmpx admin-prohibited"
"""The tenant learns at once, instead of after a timeout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All that the rules depend on besides the leases."""

    settings: NetworkSettings
    resolvers: tuple[ipaddress.IPv4Address, ...] = ()
    neighbours: tuple[ipaddress.IPv4Network, ...] = ()
    """Networks that the host is directly on and that are not among ``BARRED``: public, and still its LAN."""


def table_name(provider: ProviderId) -> str:
    """By provider, so that two of them on one machine, or a test beside a daemon, keep their own."""
    return f"gp-{provider}"


def whole(table: str, rules: Rules, bridges: Bridges) -> str:
    """A script that puts the table in the place of any before it, in one transaction."""
    blocks = [
        *_sets(rules, elements(bridges)),
        _chain("outbound", _outbound(rules)),
        _chain("inbound", _inbound(rules)),
        _chain("to_host", _to_host(rules)),
        _hook("forward", ("iifname @leases goto outbound", "oifname @leases goto inbound")),
        _hook("input", ("iifname @leases goto to_host",)),
    ]
    body = "".join(blocks)
    # Adding first makes deleting succeed where there is none.
    return f"add table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n{body}}}\n"


def elements(bridges: Bridges) -> Elements:
    """What the sets hold for ``bridges``."""
    return {
        "leases": frozenset(f'"{bridge}"' for bridge in bridges),
        "own": frozenset(f'"{bridge}" . "{bridge}"' for bridge in bridges),
        "published": frozenset(
            f'"{bridge}" . {proto} . {port}' for bridge, ports in bridges.items() for proto, port in ports
        ),
    }


def changes(table: str, there: Elements, wanted: Elements) -> str:
    """A script that turns the elements that are ``there`` into those ``wanted``; empty where they are."""
    lines = []
    for name in wanted:
        has = there.get(name, frozenset())
        for verb, which in (("add", wanted[name] - has), ("delete", has - wanted[name])):
            if which:
                lines.append(f"{verb} element inet {table} {name} {{ {', '.join(sorted(which))} }}\n")
    return "".join(lines)


def _outbound(rules: Rules) -> Iterable[str]:
    """From a lease's bridge to anywhere but the host."""
    settings = rules.settings
    yield "meta nfproto ipv6 drop"
    if settings.connections_most:
        yield f"ct state new add @connections {{ iifname ct count over {settings.connections_most} }} drop"
    # Between containers of one lease, where the kernel shows bridged packets to these hooks.
    yield "iifname . oifname @own accept"
    yield from _upload(settings)
    # Not "established": a connection that the lease began is judged packet by packet, so that one from before
    # the rules, or from before a destination was denied, ends.
    yield "ct direction reply accept"
    yield "ct state invalid drop"
    yield "fib saddr . iif oif missing drop"
    yield f'oifname "{BRIDGES}" {REFUSE}'
    yield from _to_resolvers(rules)
    yield from (f"{_match(each)} {REFUSE}" for each in settings.deny)
    yield from (f"{_match(each)} accept" for each in settings.allow)
    yield f"ip daddr @barred {REFUSE}"
    if not settings.smtp:
        yield f"tcp dport 25 {REFUSE}"
    yield "accept"


def _inbound(rules: Rules) -> Iterable[str]:
    """To a lease's bridge, from anywhere but the host and the leases: answers, and published ports only."""
    yield "meta nfproto ipv6 drop"
    yield "ct direction reply accept"
    most = rules.settings.connections_most
    if most:
        yield f"ct status dnat ct state new add @connections {{ oifname ct count over {most} }} drop"
    yield "ct status dnat accept"
    yield "drop"


def _to_host(rules: Rules) -> Iterable[str]:
    """From a lease's bridge to the host itself, whichever of its addresses."""
    yield "meta nfproto ipv6 drop"
    yield from _upload(rules.settings)
    yield "ct direction reply accept"
    yield from _to_resolvers(rules)
    # The engine's userland proxy listens there for the lease's own ports.
    yield "iifname . meta l4proto . th dport @published accept"
    yield REFUSE


def _upload(settings: NetworkSettings) -> Iterable[str]:
    """What is too fast is dropped, so the sender learns the rate. A second's worth may come at once."""
    if settings.upload_mbit:
        rate = settings.upload_mbit * BYTES
        yield f"update @upload {{ iifname limit rate over {rate} bytes/second }} drop"


def _to_resolvers(rules: Rules) -> Iterable[str]:
    if rules.resolvers:
        yield "ip daddr @resolvers meta l4proto { tcp, udp } th dport 53 accept"


def _match(destination: Destination) -> str:
    text = f"ip daddr {destination.network}"
    if not destination.ports:
        return text
    ranges = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in destination.ports)
    return f"{text} meta l4proto {{ tcp, udp }} th dport {{ {ranges} }}"


def _sets(rules: Rules, held: Elements) -> Iterable[str]:
    yield _set("leases", "ifname", held["leases"])
    yield _set("own", "ifname . ifname", held["own"])
    yield _set("published", "ifname . inet_proto . inet_service", held["published"])
    if rules.settings.connections_most:
        yield "  set connections { type ifname; size 65535; flags dynamic; }\n"
    if rules.settings.upload_mbit:
        yield "  set upload { type ifname; size 65535; flags dynamic; }\n"
    barred = ipaddress.collapse_addresses((*BARRED, *rules.neighbours))
    yield _set("barred", "ipv4_addr", map(str, barred), flags="interval")
    if rules.resolvers:
        yield _set("resolvers", "ipv4_addr", map(str, rules.resolvers))


def _set(name: str, kind: str, held: Iterable[str], flags: str = "") -> str:
    listed = ", ".join(sorted(held))
    marks = f" flags {flags};" if flags else ""
    filled = f" elements = {{ {listed} }};" if listed else ""
    return f"  set {name} {{ type {kind};{marks}{filled} }}\n"


def _hook(hook: str, lines: Iterable[str]) -> str:
    return _chain(hook, (f"type filter hook {hook} priority filter - 10; policy accept;", *lines))


def _chain(name: str, lines: Iterable[str]) -> str:
    return f"  chain {name} {{\n" + "".join(f"    {line}\n" for line in lines) + "  }\n"
