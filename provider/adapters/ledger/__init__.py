"""Decisions and what came of them, for the operator: ``ports.Ledger`` on SQLite."""

from provider.adapters.ledger.file import LedgerSettings
from provider.adapters.ledger.sqlite import SqliteLedger

__all__ = ["LedgerSettings", "SqliteLedger"]
