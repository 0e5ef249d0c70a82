"""HTTP ports under host names, through a Caddy of the daemon's own.

Caddy's configuration never changes, so that no route change closes a websocket: for each request it asks the
daemon where that goes (``lookup``), and for each new name in a TLS handshake whether it is one of ours.
``caddy_config`` says what Caddy does, ``process`` keeps it running, ``server`` answers it, ``addresses``
knows where containers are. Read ``ingress`` next.
"""
