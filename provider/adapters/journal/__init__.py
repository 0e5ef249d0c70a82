"""What happened to leases, for their tenants: ``ports.Journal`` on SQLite."""

from provider.adapters.journal.sqlite import JournalSettings, SqliteJournal

__all__ = ["JournalSettings", "SqliteJournal"]
