"""What leases reach of the network, and how fast: rules and shaping where the engine's bridges are.

``ruleset`` says what may pass, ``table`` what the kernel holds of it, ``warden`` sees to it that the two are
the same; ``shaping`` limits rates, ``place`` finds the engine's network namespace, ``resolvers`` the name
servers, ``programs`` runs ``nft``, ``tc`` and ``ip``. Read ``ruleset`` first.
"""
