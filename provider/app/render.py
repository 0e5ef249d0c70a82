"""What people see: tables, amounts, sizes, ids. Nothing here decides anything.

Every table has a ``--json`` twin that prints the wire's message; both are made from the same answer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table

from provider.domain.moment import Instant, rfc3339
from provider.domain.money import BLOCKS_PER_HOUR
from provider.domain.resources import GIB, MIB
from provider.rpc.v1 import operator_pb2, resources_pb2, tenant_pb2

SIMULATED = "[yellow]SIMULATED[/yellow]"
_SYMBOL = {"uact": "ACT", "uakt": "AKT", "uusdc": "USDC"}


def console(*, quiet: bool = False) -> Console:
    """Columns as wide as the terminal; wide enough for a pipe not to cut anything."""
    is_terminal = sys.stdout.isatty()
    return Console(
        highlight=False, soft_wrap=not is_terminal, width=None if is_terminal else 200, quiet=quiet
    )


def as_json(message: Message) -> str:
    """The wire's field names; absent fields of a message are absent, numbers and lists are always there."""
    return json.dumps(as_dict(message), indent=2)


def as_dict(message: Message) -> dict[str, object]:
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A plain table: columns named in upper case, numbers where they fall."""
    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def refusal(reason: str, required: str, available: str) -> str:
    """``gpu busy: required 1 of h100, available 0 free``."""
    facts = [f"required {required}"] if required else []
    facts += [f"available {available}"] if available else []
    return reason.replace("_", " ") + (f": {', '.join(facts)}" if facts else "")


def currency(denom: str) -> str:
    """``ACT`` for ``uact``."""
    return _SYMBOL.get(denom, denom)


def money(amount: resources_pb2.Money) -> str:
    """``1.234567 ACT``."""
    return f"{Decimal(amount.amount_micros).scaleb(-6):,.6f} {_SYMBOL.get(amount.denom, amount.denom)}"


def hourly(rate: resources_pb2.Rate) -> str:
    """``1.0300 ACT/h``."""
    per_hour = Decimal(rate.amount or 0) * BLOCKS_PER_HOUR
    return f"{per_hour.scaleb(-6):,.4f} {_SYMBOL.get(rate.denom, rate.denom)}/h"


def size(amount_bytes: int) -> str:
    """``79.6 GiB``."""
    return f"{amount_bytes / GIB:.1f} GiB" if amount_bytes >= GIB else f"{amount_bytes / MIB:.0f} MiB"


def duration(milliseconds: int) -> str:
    """``3 h 2 m``, ``41 s``, ``850 ms``."""
    if milliseconds < 1_000:
        return f"{milliseconds} ms"
    seconds = milliseconds // 1_000
    if seconds < 60:
        return f"{milliseconds / 1000:.1f} s"
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} m" if hours else f"{minutes} m {seconds} s"


def lease_name(lease: resources_pb2.LeaseId) -> str:
    """``owner/dseq/gseq/oseq/provider``."""
    order = lease.order
    return f"{order.owner}/{order.dseq}/{order.gseq}/{order.oseq}/{lease.provider}"


def enum_word(kind: object, value: int, prefix: str) -> str:
    """``LEASE_HEALTH_RUNNING`` as ``running``."""
    name: str = kind.Name(value)  # type: ignore[attr-defined]  # generated enums have it
    word = name.removeprefix(prefix).lower()
    return "-" if word == "unspecified" else word.replace("_", " ")


def gpu_offer(offer: resources_pb2.GpuOffer) -> str:
    """``2 x h100 79.6 GiB sxm``."""
    parts = [f"{offer.count} x {offer.model}"]
    parts += [size(offer.memory_bytes)] if offer.memory_bytes else []
    parts += [offer.interface] if offer.interface else []
    parts += [SIMULATED] if offer.simulated else []
    return " ".join(parts)


def ports(bindings: Iterable[resources_pb2.PortBinding], host: str) -> str:
    """``web 80 -> host:31000``, one a line."""
    return "\n".join(
        f"{port.service} {port.external_port} -> {host}:{port.host_port}"
        + (f" {port.proto}" if port.proto != "TCP" else "")
        for port in bindings
    )


def gpu_model(gpu: operator_pb2.GpuStatus) -> str:
    """``a100``, and of an instance which part of the card: ``a100 1g.10gb``."""
    part = f" {gpu.mig.profile}" if gpu.HasField("mig") else ""
    return gpu.model + part + (f" {SIMULATED}" if gpu.simulated else "")


def markets(markets: Iterable[operator_pb2.MarketStatus]) -> Table:
    """What ``provider markets`` shows."""
    return table(
        (
            "MARKET",
            "AS",
            "COORDINATOR",
            "LINK",
            "SINCE",
            "LEASES",
            "BIDS",
            "EARNED",
            "REACHED BY",
            "NOTE",
        ),
        [
            (
                market.market,
                market.provider,
                market.coordinator_address,
                "connected" if market.connected else "away",
                rfc3339(Instant(market.since_ms)) if market.since_ms else "-",
                str(market.leases),
                str(market.open_bids),
                ", ".join(map(money, market.earned)) or "-",
                market.lease_address or "the coordinator",
                market.link_problem,
            )
            for market in markets
        ],
    )


def bids(order: tenant_pb2.OrderView) -> Table:
    """What ``tenant bids`` shows of one order."""
    return table(
        ("PROVIDER", "PRICE", "GPUS"),
        [
            (bid.id.provider, hourly(bid.rate), ", ".join(gpu_offer(gpu) for gpu in bid.gpus) or "-")
            for bid in order.bids
        ],
    )


def deployments(views: Iterable[tenant_pb2.Deployment]) -> Table:
    """What ``tenant status`` shows without a number."""
    return table(
        ("DSEQ", "STATE", "ESCROW", "LEASES"),
        [
            (
                str(view.dseq),
                enum_word(tenant_pb2.DeploymentState, view.state, "DEPLOYMENT_STATE_"),
                money(view.escrow),
                "\n".join(lease_line(lease) for lease in view.leases) or "-",
            )
            for view in views
        ],
    )


def lease_line(lease: tenant_pb2.LeaseView) -> str:
    """One lease in one line: where, how it is, at what price."""
    state = enum_word(tenant_pb2.LeaseState, lease.state, "LEASE_STATE_")
    health = enum_word(resources_pb2.LeaseHealth, lease.health, "LEASE_HEALTH_")
    reason = enum_word(resources_pb2.CloseReason, lease.reason, "CLOSE_REASON_")
    word = health if state == "active" else f"{state} ({reason})"
    return f"{lease.id.provider}: {word}, {hourly(lease.rate)}"
