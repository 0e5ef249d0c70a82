"""Prints the table for ``docs/metrics.md``."""

from __future__ import annotations

import sys

from provider.adapters.telemetry import table

sys.stdout.write(table.markdown())
