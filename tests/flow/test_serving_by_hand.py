"""What is served, chosen by hand on a real factory: a rollback and a deployment, each proved by the oracle, within 30 s."""

from __future__ import annotations

import json
import time

import pytest

from core.checkpoints.ledger import Ledger
from core.checkpoints.served import read_deployments
from core.jobs.spool import Spool
from tests.fakes import wait_for
from tests.flow.checkout import Checkout

pytestmark = pytest.mark.timeout(600)
ROLLBACK_S = 30.0  # DESIGN.md section 8, row D4


def test_rollback_and_deployment_by_hand_are_proved_and_take_less_than_30_seconds(checkout: Checkout) -> None:
    """Takes up to two minutes when it runs alone: the factory is started and has to deploy something first."""
    checkout.sh("./scripts/start_all.sh")
    wait_for("a deployment", lambda: checkout.deployments()[:1], 240.0)
    wait_for("serving in status", lambda: checkout.status()["serving"], 60.0)
    before = len(read_deployments(checkout.paths.model("tiny")))
    started = time.monotonic()
    shown = checkout.sh("weaver deploy rollback --reason 'to see it go' --wait")
    took_s = time.monotonic() - started
    print(f"rollback on a working factory: {took_s:.1f} s")
    assert took_s < ROLLBACK_S and " is served: by hand: to see it go; proved on " in shown
    record = next(one for one in read_deployments(checkout.paths.model("tiny"))[before:] if one.verdict == "rolled_back")
    assert record.previous is not None and shown.startswith(f"tiny/{record.previous} ")
    assert record.proof is not None and record.proof.max_diff <= record.proof.tolerance
    assert "to see it go" in record.reason and record.by != "deploy_best"
    shown = checkout.sh(f"weaver deploy now {record.checkpoint} --wait")
    assert shown.startswith(f"tiny/{record.checkpoint} is served")
    history = json.loads(checkout.sh("weaver deploy history -n 100 --json"))["deployments"]
    assert {"rolled_back", "deployed"} <= {one["verdict"] for one in history}
    by_itself = [one["checkpoint"] for one in history if one["verdict"] == "deployed" and one["by"] == "deploy_best"]
    assert by_itself.count(record.checkpoint) == 1
    assert checkout.sh("weaver audit | tail -1")


def test_training_taken_back_goes_on_from_there_and_every_line_is_accounted_for(checkout: Checkout) -> None:
    """Takes up to two minutes when it runs alone: two checkpoints have to be trained first, and one after the reset."""
    checkout.sh("./scripts/start_all.sh")
    ledger = Ledger(checkout.paths)

    def to_take_back() -> list[str]:
        """Give head and what follows the newest checkpoint after which a job was completed; that one is the last of them."""
        chain = ledger.chain("tiny") if ledger.head("tiny") else []
        completed = set(Spool(checkout.paths).list("completed"))
        for at, name in enumerate(chain):
            since = {span.job for later in chain[:at] for span in ledger.get("tiny", later).consumed}
            if since & completed and ledger.get("tiny", name).step and ledger.has_state("tiny", name):
                return chain[: at + 1]
        return []

    wait_for("a completed job after a checkpoint", to_take_back, 240.0)
    *taken_back, target = to_take_back()
    shown = checkout.sh(f"weaver ckpt reset tiny/{target} --reason 'too far' --yes")
    assert shown.startswith(f"training goes on from tiny/{target}; ")
    assert not set(taken_back) & set(ledger.chain("tiny"))
    assert "off the surviving history" in checkout.sh(f"weaver why tiny/{taken_back[0]}")
    checkout.sh("weaver queue add tests/data/chat-messages.jsonl --force")
    wait_for("training from there", lambda: target in ledger.chain("tiny")[1:], 120.0)
    assert not set(taken_back) & set(ledger.chain("tiny")), "what was taken back never becomes head again"
    audit = json.loads(checkout.sh("weaver audit --json"))
    assert audit["ok"] and audit["lines"]["reverted"] > 0, audit
