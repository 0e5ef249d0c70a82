"""The commands: ``provider``, ``coordinator``, ``tenant``. Parsers here, work in the ``*_commands`` modules.

Only argparse is imported until a command runs, so that ``--help`` costs a tenth of a second.
"""
