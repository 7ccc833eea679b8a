"""The whole loop as a person sees it: a fresh checkout, the README's own commands, real processes, real training.

One factory for the module, because starting it and waiting for its first deployment takes most of a minute; each test goes on
where the one before left it, in the order of a first evening: start, deploy, talk, drop, kill, delete, stop, go on.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from core.checkpoints.ledger import Ledger
from core.keys import read_key
from core.process import spawned
from core.status import read_heartbeat
from tests.fakes import ROOT, delete_status, wait_for
from tests.flow.checkout import Checkout

pytestmark = pytest.mark.timeout(600)


def readme_commands(heading: str) -> list[str]:
    """Give the commands of the sh blocks under a heading of the README, comments removed."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.S)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


def test_fresh_checkout_starts_and_a_second_start_says_so(checkout: Checkout) -> None:
    assert readme_commands("The two commands") == ["./scripts/start_all.sh", "./scripts/test.sh"]
    shown = checkout.sh("./scripts/start_all.sh")
    assert re.search(r"web +http://127\.0\.0\.1:\d+", shown)
    assert re.search(r"oracle +http://127\.0\.0\.1:\d+", shown)
    assert checkout.status()["state"] == "healthy"
    weaver = checkout.pid("weaver")
    checkout.sh("./scripts/start_all.sh")
    assert checkout.pid("weaver") == weaver


def test_factory_deploys_by_itself_with_a_proof(checkout: Checkout) -> None:
    """Takes up to a minute and a half: data is made, the model trains from nothing until it beats its base."""
    first = wait_for("a deployment", lambda: checkout.deployments()[:1], 240.0)[0]
    assert first.previous is None
    assert first.proof is not None and first.proof.max_diff <= first.proof.tolerance
    assert first.weights_id == Ledger(checkout.paths).weights_id("tiny", first.checkpoint)
    assert first.test is not None and first.test.better > first.test.worse and first.test.p <= 0.05
    serving = wait_for("serving in status", lambda: checkout.status()["serving"], 20.0)
    assert serving["checkpoint"].startswith("tiny/checkpoint-")


def test_every_command_of_the_readme_works(checkout: Checkout) -> None:
    """Takes half a minute on a busy machine: every command is a process of its own."""
    commands = readme_commands("Use it")
    assert len(commands) >= 8
    for command in commands:
        if command != ". .venv/bin/activate":  # sh() does it
            checkout.sh(command)


def test_dropped_files_become_jobs_with_receipts_and_train(checkout: Checkout) -> None:
    """Takes up to two minutes: 300 long GSM8K lines train on one core beside everything else."""
    (_, gsm8k), *_ = wait_for("the GSM8K job", lambda: checkout.jobs("-gsm8k-300"), 60.0)
    assert gsm8k.spec == "completion_v1" and gsm8k.priority == "normal"
    assert gsm8k.lines is not None and gsm8k.lines.dropped == 300
    assert gsm8k.lines.accepted + gsm8k.lines.rejected == 300
    wait_for("both to be trained", lambda: _completed(checkout, "-gsm8k-300") and _completed(checkout, "-chat-messages"), 300.0)
    trained = {span.job for name in Ledger(checkout.paths).chain("tiny") for span in _consumed(checkout, name)}
    assert gsm8k.id in trained


def _completed(checkout: Checkout, slug: str) -> bool:
    return any(state == "completed" for state, _ in checkout.jobs(slug))


def _consumed(checkout: Checkout, name: str) -> Any:
    return Ledger(checkout.paths).get("tiny", name).consumed


def test_same_content_again_is_a_duplicate_and_same_name_is_another_job(checkout: Checkout) -> None:
    checkout.sh("cp tests/data/chat-messages.jsonl queue/inbox/again.jsonl")
    again = wait_for("the duplicate", lambda: checkout.jobs("-again"), 30.0)
    assert again[0][0] == "rejected" and again[0][1].reason is not None
    assert again[0][1].reason.code == "duplicate"
    assert again[0][1].duplicate_of == checkout.jobs("-chat-messages")[0][1].id
    line = json.dumps({"messages": [{"role": "user", "content": "another one"}, {"role": "assistant", "content": "yes"}]})
    (checkout.paths.inbox / ".new").write_text(line + "\n", encoding="utf-8")
    (checkout.paths.inbox / ".new").rename(checkout.paths.inbox / "chat-messages.jsonl")
    wait_for("a second job of that name", lambda: len(checkout.jobs("-chat-messages")) == 2, 30.0)


def test_official_client_talks_to_the_champion_and_is_told_which_it_is(checkout: Checkout) -> None:
    from openai import NotFoundError, OpenAI

    client = OpenAI(base_url=f"{checkout.status()['oracle']}/v1", api_key=read_key(checkout.paths.tokens / "oracle-read"))
    ask: Any = {"messages": [{"role": "user", "content": "1010 xor 0110"}], "max_tokens": 8, "temperature": 0}
    answer = client.chat.completions.create(model="champion", **ask)
    model, _, name = answer.model.partition("/")
    assert answer.system_fingerprint == Ledger(checkout.paths).weights_id(model, name)
    with pytest.raises(NotFoundError, match="checkpoint-1-20200101-0000"):
        client.chat.completions.create(model="tiny/checkpoint-1-20200101-0000", **ask)


@pytest.mark.parametrize("program", ["watch_inbox", "train_next", "oracle", "trainer", "web", "deploy_best"])
def test_killed_program_comes_back_by_itself(checkout: Checkout, program: str) -> None:
    """Takes up to half a minute for those that import torch."""
    wait_for(f"{program} to live", lambda: Path(f"/proc/{checkout.pid(program)}").exists(), 60.0)
    pid = checkout.pid(program)
    os.kill(pid, signal.SIGKILL)
    wait_for(f"another {program}", lambda: _pid_now(checkout, program) not in (None, pid), 60.0)
    wait_for("health", lambda: checkout.status()["state"] == "healthy", 60.0)


def _pid_now(checkout: Checkout, program: str) -> int | None:
    beat = read_heartbeat(checkout.paths, program)
    return beat.pid if beat is not None else None


def test_killed_weaver_leaves_everything_running_and_the_next_adopts_it(checkout: Checkout) -> None:
    weaver, oracle = checkout.pid("weaver"), checkout.pid("oracle")
    os.kill(weaver, signal.SIGKILL)
    wait_for("the Weaver to be gone", lambda: not Path(f"/proc/{weaver}/exe").exists(), 10.0)
    assert checkout.sh("weaver status || test $? = 4")
    checkout.sh("./scripts/start_all.sh")
    assert checkout.pid("weaver") != weaver
    assert checkout.pid("oracle") == oracle


def test_deleted_views_are_written_again_with_the_same_champion(checkout: Checkout) -> None:
    def champion() -> str | None:
        serving = checkout.status()["serving"]
        return serving["checkpoint"] if serving else None

    before = len(checkout.deployments())
    known = {f"tiny/{record.checkpoint}" for record in checkout.deployments()}
    began = time.monotonic()
    delete_status(checkout.paths)
    wait_for("health", lambda: checkout.status()["state"] == "healthy" and champion() is not None, 15.0)
    print(f"views were back after {time.monotonic() - began:.1f} s")
    assert champion() in known | {f"tiny/{record.checkpoint}" for record in checkout.deployments()[before:]}


def test_everything_is_accounted_for_and_the_stop_saves(checkout: Checkout) -> None:
    checkout.sh("./scripts/stop_all.sh")
    assert list(spawned(checkout.paths.home_id)) == []
    checkout.sh("weaver status", code=3)
    audit = json.loads(checkout.sh("weaver audit --json"))
    assert audit["ok"] and audit["lines"]["unaccounted"] == 0
    parts = {name: count for name, count in audit["lines"].items() if name != "dropped"}
    assert sum(parts.values()) == audit["lines"]["dropped"] > 0
    assert audit["lines"]["trained"] > 0


def test_next_start_goes_on_where_it_stopped(checkout: Checkout) -> None:
    """Takes half a minute: the trainer imports its stack again and saves once more."""
    head = Ledger(checkout.paths).head("tiny")
    assert head is not None
    checkout.sh("./scripts/start_all.sh")
    wait_for("training beyond the old head", lambda: _is_beyond(checkout, head.checkpoint), 120.0)


def _is_beyond(checkout: Checkout, old: str) -> bool:
    chain = Ledger(checkout.paths).chain("tiny")
    return bool(chain) and chain[0] != old and old in chain
