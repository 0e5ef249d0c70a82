"""What providers said of a dry run, as it is shown: by group, then by provider."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from rich.markup import escape

from provider.app import render
from provider.app.cli.entry import DONE, UNHEALTHY
from provider.app.screening import Said


def show(said: Sequence[Said], groups: Iterable[str], *, as_json: bool) -> int:
    """Prints it; the exit status: 3 where there is a group that nobody would serve."""
    if as_json:
        print(json.dumps([_as_dict(each) for each in said], indent=2))
    else:
        rows = [_row(each) for each in said]
        render.console().print(render.table(("GROUP", "PROVIDER", "BIDS", "PRICE", "GPUS", "WHY NOT"), rows))
    served = {each.group for each in said if each.answer is not None and each.answer.would_bid}
    return DONE if served == set(groups) else UNHEALTHY


def _row(said: Said) -> tuple[str, ...]:
    if said.answer is None:
        return said.group, said.provider, "[red]no answer[/red]", "-", "-", escape(said.problem)
    answer = said.answer
    if answer.would_bid:
        gpus = ", ".join(render.gpu_offer(gpu) for gpu in answer.gpus) or "-"
        price = render.hourly(answer.rate) if answer.HasField("rate") else "made on order"
        return said.group, said.provider, "[green]yes[/green]", price, gpus, ""
    why = render.refusal(answer.reason, answer.required, answer.available)
    return said.group, said.provider, "[yellow]no[/yellow]", "-", "-", escape(why)


def _as_dict(said: Said) -> dict[str, object]:
    told: dict[str, object] = {"group": said.group, "provider": said.provider}
    if said.answer is None:
        return told | {"problem": said.problem}
    return told | render.as_dict(said.answer)
