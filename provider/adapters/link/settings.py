"""How a provider keeps its one stream to the market: patience, limits, where it remembers things."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from provider.rpc.settings import DEADLINE_S, WELCOME_S


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """Times in seconds. The defaults are for the real world; tests have less patience."""

    state_dir: Path
    """Where the identity and the market's token keys are kept (0700)."""
    instance: str
    """Random at each start of the daemon."""
    software: str
    """This software's version."""
    lease_address: str = ""
    """host:port at which tenants reach this provider; empty where they cannot."""
    lease_socket: Path | None = None
    """Where our own LeaseServer listens too: tunnels lead there. None: none are taken up."""
    address: str = ""
    """host:port of the coordinator; empty for the one that the join token named."""
    retry_first_s: float = 0.2
    """The first retry comes within this: most losses are a restart or a cable."""
    retry_unit_s: float = 1.0
    """The second within this, then each within twice as long: full jitter, so that 5,000 agents spread."""
    retry_most_s: float = 60.0
    stable_s: float = 10.0
    """A session that lasted so long forgives earlier failures."""
    welcome_s: float = WELCOME_S
    deadline_s: float = DEADLINE_S
    leave_s: float = 1.0
    """For the goodbye to be heard."""
    waiting_most: int = 1024
    """Deliveries that wait for the agent; past it the stream is not read, and the coordinator waits."""
