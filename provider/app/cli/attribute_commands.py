"""What an auditor does: sign what it has found out about a provider."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from provider.app.audited import private_key, statement
from provider.app.cli.entry import DONE
from provider.domain.errors import ConfigError
from provider.domain.ids import member_name


def sign(args: argparse.Namespace) -> int:
    """Print a statement; the provider keeps it as a file of its ``bidding.audited`` folder."""
    try:
        provider = member_name(args.provider)
    except ValueError as error:
        raise ConfigError(str(error), remedy="name the provider as its market knows it") from None
    attributes = {}
    for text in args.attributes:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise ConfigError(f"{text!r} is no attribute", remedy="write it like region=eu-west")
        attributes[key] = value
    made = statement(provider, args.auditor, attributes, args.expires, private_key(Path(args.key)))
    print(json.dumps(made, indent=2, sort_keys=True))
    return DONE
