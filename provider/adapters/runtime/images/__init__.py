"""Images: which may be used, by whom, how they get here, and when they go again.

``stock`` is what the launcher asks; ``reference`` names, ``policy`` allows, ``registry`` resolves and proves
access, ``pulling`` fetches, ``record`` remembers, ``collector`` makes room. Read ``stock`` next.
"""
