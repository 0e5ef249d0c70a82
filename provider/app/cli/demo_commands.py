"""What ``provider demo`` does with its options."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from provider.app import logs
from provider.app.cli.entry import DONE, FAILED
from provider.app.demo import story

DOCKER = "unix:///var/run/docker.sock"


def demo(args: argparse.Namespace) -> int:
    """Tell the story, or end one that was kept."""
    logs.configure("error")  # what the parts say in passing is no part of it
    if args.end:
        left = asyncio.run(story.end(Path(args.end)))
        print("\n".join(f"left behind: {each}" for each in left) or "nothing is left behind")
        return FAILED if left else DONE
    receipt = story.tell(story.Options(docker=args.docker or DOCKER, keep=args.keep, quiet=args.json))
    if args.json:
        print(receipt.as_json())
    return FAILED if receipt.left_behind else DONE
