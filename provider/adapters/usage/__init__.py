"""What containers use, from control groups and ``/proc``; and the file in which totals are kept."""

from provider.adapters.usage.book import SqliteTallies, TallySettings
from provider.adapters.usage.probe import CgroupUsage, Roots

__all__ = ["CgroupUsage", "Roots", "SqliteTallies", "TallySettings"]
