"""A GPU provider for a compute marketplace: agent, coordinator and tenant in one package.

Read next: ``docs/architecture.md``, then ``ports.py``, ``core/events.py``, ``core/effects.py``,
``core/lease.py`` and ``shell/loop.py``: those six explain the rest.
"""

__version__ = "0.1.0"
