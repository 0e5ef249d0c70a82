"""Failures, by what can be done about them.

Expected refusals are values (``domain.market``); broken invariants assert. What is left is one of
these, and every message is for a person: ``what`` happened in one line, ``remedy`` in another.
"""

from __future__ import annotations

from provider.domain.moment import Span


class ProviderError(Exception):
    """Not raised itself. ``str()`` is the one line of what; ``remedy`` the one line of what to try."""

    def __init__(self, what: str, *, remedy: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


class ConfigError(ProviderError):
    """The operator or the caller must change something first: exit status 2."""


class Temporary(ProviderError):
    """May succeed later, unchanged. ``retry_after`` is a hint, None for the caller's own schedule."""

    def __init__(self, what: str, *, remedy: str | None = None, retry_after: Span | None = None) -> None:
        super().__init__(what, remedy=remedy)
        self.retry_after = retry_after


class Permanent(ProviderError):
    """Will never succeed for this request: an image that does not exist, a refused certificate."""


class ImageUnavailable(Permanent):
    """No such image, or its registry does not let us pull it."""


class PeerError(ProviderError):
    """The other side broke the contract: a message that cannot be, a sequence out of order."""
