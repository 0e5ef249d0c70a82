"""What every command shares: running it, and turning failures into two lines and an exit status.

0 done, 1 failed, 2 usage or configuration, 3 unhealthy. Errors go to standard error: one line of what,
one ``Try:`` line of what to do about it.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence

DONE, FAILED, USAGE, UNHEALTHY = 0, 1, 2, 3
INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""

Command = Callable[[argparse.Namespace], int]


def command(module: str, name: str) -> Command:
    """``provider.app.cli.<module>.<name>``, imported when it is run."""

    def run(args: argparse.Namespace) -> int:
        found: Command = getattr(importlib.import_module(f"provider.app.cli.{module}"), name)
        return found(args)

    return run


def main(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    """Parse, run, report. The last place in which any exception is caught."""
    args = parser.parse_args(argv)
    # gRPC's own lines on standard error are for its authors; ours say what failed. Set before its import.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        status: int = args.run(args)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output is gone (`provider leases | head`): nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as failure:
        return report(failure)
    return status


def report(failure: Exception) -> int:
    """Say what failed and what to try; the exit status."""
    from provider.domain.errors import ConfigError, ProviderError

    if isinstance(failure, ExceptionGroup) and len(failure.exceptions) == 1:
        return report(failure.exceptions[0])
    if not isinstance(failure, ProviderError):
        import traceback

        traceback.print_exception(failure)
        print(f"{type(failure).__name__}: {failure}", file=sys.stderr)
        print("  Try: report this with the lines above; it is a fault of the program", file=sys.stderr)
        return FAILED
    print(failure.what, file=sys.stderr)
    if failure.remedy:
        print(f"  Try: {failure.remedy}", file=sys.stderr)
    return USAGE if isinstance(failure, ConfigError) else FAILED
