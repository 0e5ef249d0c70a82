"""Decisions: what to do when something happens. Pure, total, deterministic.

Read ``events`` (what can happen), ``effects`` (what can be wanted), ``lease`` (the machine as a table)
and ``agent`` (the one transition function), in that order.
"""
