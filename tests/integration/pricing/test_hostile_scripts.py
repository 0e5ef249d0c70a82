"""Price scripts that do what they should not: each is a reason within its time, and nothing of it is left."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest

from provider.adapters.pricing.function import FunctionPricer
from provider.adapters.pricing.running import Limits, Runner
from provider.adapters.pricing.script import ScriptPricer
from provider.domain.errors import ConfigError, Permanent, Temporary
from provider.sdl.price_request import price_request
from tests.pricing import question

PATIENT, SHORT = Limits(wall_s=30), Limits(wall_s=1)
Script = Callable[..., ScriptPricer]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """A script with this text."""

    def make(
        text: str, limits: Limits = PATIENT, *, mode: int = 0o755, environment: Mapping[str, str] = os.environ
    ) -> ScriptPricer:
        path = tmp_path / "price"
        path.write_text(text)
        path.chmod(mode)
        return ScriptPricer(path, Runner(limits), environment)

    return make


def shell(text: str) -> str:
    return f"#!/bin/sh\n{text}\n"


def ask(pricer: ScriptPricer) -> Decimal:
    return asyncio.run(pricer.price(question())).amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("echo 132", "132"),
        ("printf 1.5", "1.5"),
        ("printf '  0.000000000000000001\\n\\n'", "0.000000000000000001"),
        ("echo 007.50", "7.5"),
        ("echo DEBUG: priced >&2; echo 3", "3"),
        ("exec <&-; echo 4", "4"),
        ("(trap '' TERM HUP; exec sleep 1000) & echo 5", "5"),
    ],
)
def test_answers(script: Script, text: str, amount: str) -> None:
    assert ask(script(shell(text))) == Decimal(amount)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "said nothing"),
        ("echo 0", "said 0: a price is more than that"),
        ("echo 0.000", "said 0"),
        ("echo -1", "said '-1'"),
        ("echo +1", "said '.1'"),
        ("echo NaN", "said 'NaN'"),
        ("echo Infinity", "said 'Infinity'"),
        ("echo 1e3", "said '1e3'"),
        ("echo 1.5uact", "said '1.5uact'"),
        ("echo 1 2", "said '1 2'"),
        ("echo 1; echo 2", r"said '1\\n2'"),
        ("echo .5", "said '.5'"),
        ("echo 1.1234567890123456789", "at most 18 digits"),
        ("printf '1\\000'", "said"),
        ("printf '\\377\\376'", "said"),
        ("printf '\\331\\241'", "said"),
        ("yes 1", "said more than 4096 bytes"),
        ("echo rate too low >&2; exit 1", "refused with exit status 1: rate too low"),
        ("echo 5; exit 3", "refused with exit status 3"),
        ("printf 'a\\033[31mb\\n\\nc\\007' >&2; exit 1", r"status 1: a\?\[31mb c\?"),
    ],
)
def test_what_is_no_answer_is_a_reason(script: Script, text: str, why: str) -> None:
    with pytest.raises(Permanent, match=why):
        ask(script(shell(text)))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("kill -9 $$", "was killed"),
        ("kill -SEGV $$", "ended by SIGSEGV"),
        ("no-such-program", "could not run: exit status 127: .*not found"),
    ],
)
def test_who_fails_may_do_better_the_next_time(script: Script, text: str, why: str) -> None:
    with pytest.raises(Temporary, match=why):
        ask(script(shell(text)))


def test_a_long_complaint_is_cut_and_does_not_hold_anything_up(script: Script) -> None:
    with pytest.raises(Permanent) as refusal:
        ask(script(shell("yes complaint | head -c 1000000 >&2; exit 1")))
    assert "complaint complaint" in refusal.value.what
    assert len(refusal.value.what) < 500


def test_a_script_that_hangs_is_ended_with_its_children(script: Script, tmp_path: Path) -> None:
    text = f"""trap '' TERM
sleep 1000 & echo $! > {tmp_path}/child
sleep 1000 & echo $! >> {tmp_path}/child
wait; wait"""
    with pytest.raises(Temporary, match="gave no answer within 1 s"):
        ask(script(shell(text), SHORT))
    children = [int(line) for line in (tmp_path / "child").read_text().split()]
    assert len(children) == 2
    assert not [child for child in children if _runs(child)]


def test_children_do_not_outlive_the_answer(script: Script, tmp_path: Path) -> None:
    assert ask(script(shell(f"sleep 1000 & echo $! > {tmp_path}/child; echo 6"))) == 6
    assert not _runs(int((tmp_path / "child").read_text()))


AWAY = "setsid sh -c 'echo $$ > CHILD; exec sleep 1000' &"
MUTE = "setsid sh -c 'echo $$ > CHILD; exec sleep 1000' </dev/null >/dev/null 2>&1 &"
LEAVES = 'exec setsid sh -c "echo \\$\\$ > CHILD; exec sleep 1000"'
ORPHANED = f"""(setsid sh -c '(trap "" TERM HUP; {LEAVES}) & exit' &) &"""


@pytest.mark.parametrize(
    ("away", "then", "limits"),
    [
        (AWAY, "echo 7", PATIENT),
        (MUTE, "echo 7", PATIENT),
        (ORPHANED, "echo 7", PATIENT),
        (AWAY, "exit 3", PATIENT),
        (ORPHANED, "sleep 999", SHORT),
    ],
)
def test_who_left_the_group_is_ended_too(
    script: Script, tmp_path: Path, away: str, then: str, limits: Limits
) -> None:
    child = tmp_path / "child"
    text = f"{away.replace('CHILD', str(child))}\nwhile ! [ -s {child} ]; do :; done\n{then}"
    with suppress(Permanent, Temporary):
        assert ask(script(shell(text), limits)) == 7
    assert not _runs(int(child.read_text()))


def test_a_script_that_kills_its_warden_dies_with_it(script: Script, tmp_path: Path) -> None:
    with pytest.raises(Temporary, match="was killed"):
        ask(script(shell(f"sleep 1000 & echo $$ $! > {tmp_path}/both; kill -9 $PPID; wait")))
    until(lambda: not any(_runs(int(pid)) for pid in (tmp_path / "both").read_text().split()))


def test_a_daemon_that_is_killed_leaves_no_script(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "own")
    path = tmp_path / "price"
    path.write_text(shell(f"setsid sleep 1000 & echo $! > {tmp_path}/own; sleep 1000"))
    path.chmod(0o755)
    code = (
        "import asyncio, sys\n"
        "from provider.adapters.pricing.running import Limits, Program, Runner\n"
        "program = Program(name='p', command=[sys.argv[1]], environment={})\n"
        "asyncio.run(Runner(Limits()).ask(program, b''))"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)]) as daemon:
        left = int((tmp_path / "own").read_text())
        daemon.kill()
    until(lambda: not _runs(left))


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert holds()


def test_processor_time_is_limited(script: Script) -> None:
    with pytest.raises(Temporary, match="used more than 1 s of processor time"):
        ask(script(shell("while :; do :; done"), Limits(wall_s=50, cpu_s=1)))


def test_memory_is_limited(script: Script) -> None:
    text = f"#!{sys.executable}\nprint(len(bytearray(600 * 1024 * 1024)) and 1)\n"
    with pytest.raises(Permanent, match="MemoryError"):
        ask(script(text, Limits(memory_mib=400)))
    assert ask(script(text, Limits(memory_mib=0))) == 1


def test_a_script_that_is_not_executable_or_not_there_any_more_is_a_reason(
    script: Script, tmp_path: Path
) -> None:
    with pytest.raises(Temporary, match=r"exit status 126: .*Permission denied"):
        ask(script(shell("echo 1"), mode=0o644))
    gone = script(shell("echo 1"))
    (tmp_path / "price").unlink()
    with pytest.raises(Temporary, match=r"exit status 127: .*not found"):
        ask(gone)


def test_so_many_at_once_and_no_more(script: Script, tmp_path: Path) -> None:
    """Each counts those that run with it: never more than two."""
    text = f"""mkdir {tmp_path}/run.$$
ls -d {tmp_path}/run.* | wc -l
rmdir {tmp_path}/run.$$"""
    pricer = script(shell(text), Limits(at_once=2))

    async def crowd() -> set[Decimal]:
        prices = await asyncio.gather(*(pricer.price(question()) for _ in range(12)))
        return {price.amount for price in prices}

    assert asyncio.run(crowd()) <= {Decimal(1), Decimal(2)}


def test_a_question_that_nobody_waits_for_any_more_ends_its_script(script: Script, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "own")
    pricer = script(shell(f"echo $$ > {tmp_path}/own; exec sleep 1000"))

    async def leave() -> int:
        asked = asyncio.create_task(pricer.price(question()))
        own = int(await asyncio.to_thread((tmp_path / "own").read_text))
        asked.cancel()
        await asyncio.wait([asked])
        assert asked.cancelled()
        return own

    assert not _runs(asyncio.run(leave()))


def test_akashs_standard_input_and_environment_arrive_byte_for_byte(script: Script, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PRICE_TARGET_CPU": "1.60",
        "PROVIDER_TELEMETRY__TOKEN": "secret",
    }
    pricer = script(shell(f"cat > {tmp_path}/stdin; env > {tmp_path}/env; echo 1"), environment=environment)
    assert ask(pricer) == 1
    asked = question()
    alternative = asked.order.group.units[0].resources.gpu.alternatives[0]
    assert (tmp_path / "stdin").read_bytes() == price_request(asked.order.group, {1: alternative})
    told = (tmp_path / "env").read_text().splitlines()
    assert {"AKASH_OWNER=alice", "AKASH_DENOM=uact", "PRICE_TARGET_CPU=1.60"} <= set(told)
    assert "secret" not in (tmp_path / "env").read_text()


GENERIC = '''#!{python}
"""Prices as the usual generic script does: USD a month by resource, cards by model.memory.interface."""
import json, os, sys

request = json.load(sys.stdin)
units = request["resources"] if "price" in request else request
targets = dict(pair.split("=") for pair in os.environ["PRICE_TARGET_GPU_MAPPINGS"].split(","))
usd = 0.0
for unit in units:
    usd += unit["count"] * (unit["cpu"] / 1000 * 1.60 + unit["memory"] / 2**30 * 0.80)
    usd += unit["count"] * sum(v["size"] / 2**30 * 0.02 for v in unit["storage"] if v["class"] == "ephemeral")
    usd += unit["endpoint_quantity"] * 0.05 + unit["ip_lease_quantity"] * 5
    card = unit["gpu"]["attributes"].get("vendor", {{}}).get("nvidia", {{}})
    name = ".".join(card[key] for key in ("model", "ram", "interface") if key in card)
    usd += unit["count"] * unit["gpu"]["units"] * float(targets.get(name, targets["*"]))
if request["price"]["denom"] != os.environ["AKASH_DENOM"]:
    sys.exit("whose order is this?")
rate = usd * 1000000 / 429909
if rate > float(request["price"]["amount"]):
    sys.exit(f"requested rate is too low. min expected {{rate:.6f}}")
print(f"{{rate:.{{request['price_precision']}}f}}")
'''


def test_a_script_written_for_akash_prices_an_order(script: Script) -> None:
    text = GENERIC.format(python=sys.executable)
    cheap = {**os.environ, "PRICE_TARGET_GPU_MAPPINGS": "h100=30,*=10"}
    price = ask(script(text, environment=cheap))
    assert price == Decimal("73.666753"), "(0.8 + 0.8 + 0.02 + 0.05 + 30 USD a month) / 429909 blocks"
    dear = {**os.environ, "PRICE_TARGET_GPU_MAPPINGS": "h100=900,*=10"}
    with pytest.raises(Permanent, match=r"requested rate is too low\. min expected 2097"):
        ask(script(text, environment=dear))


FUNCTIONS = """
import os, sys, time
from decimal import Decimal

def fine(asked):
    print("thinking aloud")
    return asked.floor_hour + Decimal("0.03")

def whole(asked): return 1
def nothing(asked): return None
def because(asked): return None, "no GPUs for this one"
def half(asked): return 0.5
def yes(asked): return True
def text(asked): return "1.5"
def nan(asked): return Decimal("NaN")
def minus(asked): return Decimal(-1)
def zero(asked): return Decimal(0)
def raises(asked): raise RuntimeError("my table is empty")
def hangs(asked): time.sleep(1000)
def leaves(asked): os._exit(0)
constant = 5
"""


def function(tmp_path: Path, name: str, limits: Limits = PATIENT) -> FunctionPricer:
    (tmp_path / "my_prices.py").write_text(FUNCTIONS)
    return FunctionPricer(name, (str(tmp_path),), Runner(limits), os.environ)


@pytest.mark.parametrize(("name", "amount"), [("fine", "50"), ("whole", "1666.666666666666666667")])
def test_functions_that_answer(tmp_path: Path, name: str, amount: str) -> None:
    price = asyncio.run(function(tmp_path, f"my_prices:{name}").price(question()))
    assert price.amount == Decimal(amount)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nothing", "gave no price"),
        ("because", "no GPUs for this one"),
        ("half", "returned 0.5: a price is a Decimal"),
        ("yes", "returned True"),
        ("text", "returned a str"),
        ("nan", "returned NaN"),
        ("minus", "returned -1"),
        ("zero", "returned 0"),
        ("leaves", "gave no answer"),
    ],
)
def test_functions_that_do_not(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(Permanent, match=why):
        asyncio.run(function(tmp_path, f"my_prices:{name}").price(question()))


def test_a_function_that_raises_may_do_better_the_next_time(tmp_path: Path) -> None:
    with pytest.raises(Temporary, match=r"failed with exit status 1: .*my table is empty"):
        asyncio.run(function(tmp_path, "my_prices:raises").price(question()))


def test_a_function_that_hangs_is_ended(tmp_path: Path) -> None:
    with pytest.raises(Temporary, match="no answer within 1 s"):
        asyncio.run(function(tmp_path, "my_prices:hangs", SHORT).price(question()))


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("my_prices:fine", None),
        ("my_price:fine", "my_price cannot be imported: No module named 'my_price'"),
        ("my_prices:fin", "there is no fin in my_prices"),
        ("my_prices:constant", "constant is no function"),
    ],
)
def test_a_function_is_looked_for_at_the_start(tmp_path: Path, entry: str, why: str | None) -> None:
    checking = function(tmp_path, entry)
    if why is None:
        asyncio.run(checking.check())
        return
    with pytest.raises(ConfigError, match=why):
        asyncio.run(checking.check())


def _runs(pid: int) -> bool:
    """Whether it is there and no zombie: whoever is killed may wait to be reaped by the init process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
