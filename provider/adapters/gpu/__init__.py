"""NVIDIA GPUs through NVML, from a worker process of their own.

A call into the driver can hang for ever, crash its process, or block every other call, so none is made in
the daemon: ``worker`` makes them, ``probe`` watches it, kills it and replaces it. Read ``nvml`` (which
calls), ``policy`` (what each return code means), ``verdict`` (what that says about a card), ``probe``.

Keep this file free of imports: the worker imports the package and must stay small.
"""
