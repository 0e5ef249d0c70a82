"""Disk space for leases: volumes of an enforced size, and what containers write beside them.

Owns volume files, their mounts, and the watch over writable layers. Does not own which mounts a container
gets, see ``runtime.mounts``. Read ``records``, then ``volumes``.
"""
