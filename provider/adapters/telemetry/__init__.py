"""Prometheus metrics, and the small HTTP server that serves them beside ``/healthz`` and ``/readyz``.

Read ``table`` (every metric there is), ``view`` (what the daemon hands over), ``collector`` (state to
series), ``metrics`` (facts to counters), ``http`` (the server).
"""
