"""The wire, as both sides share it: codecs, settings, errors, identities, tokens, sequence numbers.

``v1`` is generated from ``proto/`` and seen only by codecs and servers. Nothing here decides anything
about the market, and nothing knows an adapter. Read next: ``settings.py``, then ``status.py``.
"""
