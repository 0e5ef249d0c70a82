"""Why the other side cannot be reached, in words that say what to do: gRPC's own are for its authors."""

from __future__ import annotations

from provider.domain.errors import ProviderError, Temporary

_MEANINGS = (
    # A piece of gRPC's text (measured on 1.85.1), what it means, what to try. First match counts.
    (
        "CERTIFICATE_VERIFY_FAILED: certificate has expired",
        "its certificate has expired",
        "ask the market's owner to restart it",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "its certificate is not of this market's authority",
        "check the address, or enroll again if the market was set up anew",
    ),
    (
        "Hostname Verification Check failed",
        "it is not this market's coordinator",
        "check the address",
    ),
    ("Connection refused", "nothing listens there", "check the address, and that the coordinator runs"),
    ("Name resolution", "its name is not known", "check the address and this machine's DNS"),
    ("DNS", "its name is not known", "check the address and this machine's DNS"),
    (
        "Socket closed",
        "it closed the connection; it may not accept this certificate",
        "enroll again with a new token if this goes on",
    ),
    ("No route to host", "there is no route to it", "check the network"),
    ("Network is unreachable", "there is no route to it", "check the network"),
    ("failed to connect", "it cannot be reached", "check the address and the network"),
)


def explain(error: ProviderError, whom: str) -> str:
    """One line: who cannot be reached (``coordinator 10.0.0.1:7443``), what is wrong, what to try."""
    told = named(error, whom)
    return told.what + (f". Try: {told.remedy}" if told.remedy else "")


def named(error: ProviderError, whom: str) -> Temporary:
    """The same as an error of its own, for whoever asked."""
    for text, meaning, remedy in _MEANINGS:
        if text in error.what:
            return Temporary(f"{whom}: {meaning}", remedy=remedy)
    return Temporary(f"{whom}: {error.what}", remedy=error.remedy)
