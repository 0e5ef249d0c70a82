"""The few questions of ``tenant init``, asked only on a terminal and only if no option answers them."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from provider.domain.errors import ConfigError
from provider.sdl.starter import Answers

_OPTIONS = ("image", "name", "port", "gpu", "cpu", "memory", "storage", "data", "replicas", "price")


def answers_from(args: argparse.Namespace) -> Answers:
    """Options first; on a terminal without any, questions; defaults for the rest."""
    given = {name: getattr(args, name) for name in _OPTIONS if getattr(args, name) is not None}
    if args.count is not None and args.gpu is None:
        given["gpu"] = "any"
    answers = Answers(**given)
    if args.count is not None:
        answers = replace(answers, gpu_count=args.count)
    if args.gpu_memory is not None:
        answers = replace(answers, gpu=answers.gpu or "any", gpu_memory=args.gpu_memory)
    if answers.gpu == "none":
        answers = replace(answers, gpu=None)
    is_asked = answers == Answers() and sys.stdin.isatty() and sys.stderr.isatty()
    return _ask(answers) if is_asked else answers


def _ask(answers: Answers) -> Answers:
    answers = replace(answers, image=_line("Image", answers.image))
    answers = replace(answers, port=_whole("Port that it listens on", answers.port))
    gpu = _line("GPU model (any, h100, rtx4090 ...; none)", "none")
    if gpu == "none":
        return answers
    return replace(answers, gpu=gpu, gpu_count=_whole("How many GPUs", 1))


def _line(question: str, default: str) -> str:
    print(f"{question} [{default}]: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() or default


def _whole(question: str, default: int) -> int:
    text = _line(question, str(default))
    if not text.isascii() or not text.isdigit():
        raise ConfigError(f"{text!r} is not a whole number", remedy="answer with digits, or use the options")
    return int(text)
