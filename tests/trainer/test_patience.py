"""Budgets: who is slow but moves is not taken for stuck, who is stuck is found."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.paths import Paths
from core.process import catches
from core.status import read_heartbeat
from tests.fakes import home_environment, wait_for
from trainer import patience


@pytest.mark.parametrize(
    ("parameters", "tokens", "device", "slowest_real_s"),
    [
        (363_000, 2_560, "cpu", 1.0),
        (600_000_000, 2_048, "cpu", 600.0),  # 12 GFLOP/s: two cores in fp32
        (4_000_000_000, 65_536, "cuda", 120.0),  # a 4090 at a tenth of its peak
        (8_000_000_000, 65_536, "cuda", 240.0),
    ],
)
def test_first_step_of_a_large_model_has_its_time(parameters: int, tokens: int, device: str, slowest_real_s: float) -> None:
    budget = patience.first_step_s(parameters, [10, tokens, 5], device)
    assert budget >= 5 * slowest_real_s and budget >= patience.LEAST_S
    assert patience.first_step_s(363_000, [2_560], "cpu") == patience.LEAST_S, "a stuck tiny trainer is found in minutes"


def test_later_steps_are_judged_by_the_slowest_so_far() -> None:
    assert patience.step_s(0.05) == patience.LEAST_STEP_S
    assert patience.step_s(60.0) == 1200.0


def test_saving_loading_and_tokenising_have_time_by_their_size(tmp_path: Path) -> None:
    assert patience.save_s(363_000) == patience.LEAST_S and patience.save_s(8_000_000_000) > 3600.0
    assert patience.load_s(tmp_path / "nowhere") == patience.LEAST_S
    (tmp_path / "checkpoint-0").mkdir()
    for name, size in (("model.safetensors", 10**9), ("config.json", 1000)):
        with (tmp_path / "checkpoint-0" / name).open("wb") as file:
            file.truncate(size)
    assert patience.load_s(tmp_path) == pytest.approx(4 * (10**9 + 1000) / 10e6)
    data = tmp_path / "data.jsonl"
    with data.open("wb") as file:
        file.truncate(10**9)
    assert patience.tokenise_s(data) == pytest.approx(20_000.0)


def test_trainer_shows_its_stacks_also_while_it_imports(paths: Paths) -> None:
    """About 10 s: the trainer imports its stack."""
    out = paths.logs / "trainer.out"
    with out.open("wb") as file:
        child = subprocess.Popen([sys.executable, "-m", "trainer", "work", "--model", "tiny"], env=home_environment(paths),
                                 cwd=paths.home, stdout=file, stderr=file)  # fmt: skip
    try:
        beat = wait_for("its first beat", lambda: read_heartbeat(paths, "trainer"), 120.0)
        assert beat.pid == child.pid and catches(beat.process, signal.SIGUSR2)
        child.send_signal(signal.SIGUSR2)
        wait_for("the stacks", lambda: "most recent call first" in out.read_text())
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()
