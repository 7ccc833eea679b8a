"""Lines that training cannot take: found by bisection or by trying them alone, left out with evidence, the rest trained."""

from __future__ import annotations

import base64
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.accounting.audit import audit
from core.checkpoints.history import advance_head
from core.clock import iso
from core.files import append_record
from core.jobs.job import DEATH, Attempt, Line
from core.jobs.poison import PROBE, PoisonLine, Probe, add_poison, poison_of, probe_of
from core.process import ProcessRef, start_ticks, this_process
from core.records import encode, encode_pretty, read_if_there
from core.runs.run import Outcome, Progress
from tests.core.home_files import job_record
from tests.trainer.conftest import with_base
from tests.trainer.training_home import TrainingHome, said, sums
from trainer.engine import TrainerEngine, TrainingStatusWriter
from trainer.tiny.model import build
from trainer.trial import bisect, is_out_of_memory

BAD = "yes"
"""A word that is one token, which the base of these tests cannot take."""
SEED = 5


def token_of_bad(folder: Path) -> int:
    """Give the id of BAD in a model folder."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    added = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    return int({**tokenizer["model"]["vocab"], **added}[BAD])


def spoilt_base(folder: Path, damage: str) -> str:
    """Write a base with untied embeddings in which the token of BAD gives NaN, or lies outside the embeddings."""
    folder.mkdir()
    build(folder, 0)
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    embeddings = weights["model.embed_tokens.weight"]
    weights["lm_head.weight"] = embeddings.clone()
    token = token_of_bad(folder)
    if damage == "nan":
        embeddings[token] = math.nan
    else:
        assert token == len(embeddings) - 1
        weights = {name: w[:token].clone() if len(w) == len(embeddings) else w for name, w in weights.items()}
        config["vocab_size"] = token
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    return str(folder)


@pytest.fixture(scope="module")
def nan_base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    root = tmp_path_factory.mktemp("nan")
    return with_base(root, spoilt_base(root / "base", "nan"))


def home_of(built: tuple[Path, str], folder: Path) -> TrainingHome:
    shutil.copytree(built[0], folder)
    return TrainingHome(folder, built[1])


def poisoned(count: int, bad: Sequence[int]) -> list[Line]:
    """Give lines of sums, those numbered in bad (from 1) with the word that the base cannot take."""
    return [said(f"{BAD} 1", "2") if number in bad else line for number, line in enumerate(sums(count, SEED), 1)]


@pytest.mark.parametrize("packing", ["off", "on"])
@pytest.mark.parametrize("bad", [[1], [40], [7, 8, 33], [38, 39, 40]])
def test_lines_that_give_nan_are_found_and_left_out_and_the_rest_is_trained(
    nan_base: tuple[Path, str], tmp_path: Path, bad: list[int], packing: str
) -> None:
    home = home_of(nan_base, tmp_path / "home")
    folder = home.job("job-1", poisoned(60, bad))
    result = home.engine().run_job(home.config(folder, epochs=2, packing=packing))
    assert (result.outcome, result.error) == (Outcome.COMPLETED, None)
    assert result.summary.endswith(f"{len(bad)} lines left out as poison")
    found = poison_of(folder)
    assert sorted(line.line for line in found) == bad
    assert {line.code for line in found} == {"loss"}
    for line in found:
        assert BAD.encode() in base64.b64decode(line.raw_b64)
        assert "nan" in line.reason
        assert line.checkpoint.startswith("checkpoint-0-")
    trained = [line for span in home.last().consumed for line in span.lines]
    assert sorted(trained) == sorted(2 * [line for line in range(1, 61) if line not in bad])
    assert all(math.isfinite(float.fromhex(loss)) for loss in home.recorder.losses)


def test_three_poisoned_lines_of_ten_thousand_are_found_and_the_others_trained(
    nan_base: tuple[Path, str], tmp_path: Path
) -> None:
    """Takes about 20 s: ten thousand lines really train, as the issue's figure asks."""
    home = home_of(nan_base, tmp_path / "home")
    bad = sorted(random.Random(SEED).sample(range(1, 10_001), 3))
    folder = home.job("job-1", poisoned(10_000, bad))
    result = home.engine().run_job(home.config(folder, micro_batch=64, accumulation=1, batch_tokens=8192))
    assert result.outcome is Outcome.COMPLETED
    found = poison_of(folder)
    assert sorted(line.line for line in found) == bad
    assert sum(line.probes for line in found) <= 3 * math.log2(10_000)
    assert sorted(line for span in home.last().consumed for line in span.lines) == sorted(set(range(1, 10_001)) - set(bad))


def test_line_that_ends_in_an_error_is_left_out(tmp_path: Path) -> None:
    root = tmp_path / "made"
    root.mkdir()
    home = home_of(with_base(root, spoilt_base(root / "base", "outside")), tmp_path / "home")
    folder = home.job("job-1", poisoned(24, [11]))
    assert home.engine().run_job(home.config(folder)).outcome is Outcome.COMPLETED
    assert [(line.line, line.code) for line in poison_of(folder)] == [(11, "error")]
    assert "IndexError" in poison_of(folder)[0].reason


def test_poison_found_before_a_kill_is_left_out_after_it_with_the_same_bits(nan_base: tuple[Path, str], tmp_path: Path) -> None:
    lines = poisoned(40, [3, 30])
    whole = home_of(nan_base, tmp_path / "whole")
    folder = whole.job("job-1", lines)
    assert whole.engine().run_job(whole.config(folder, epochs=2)).outcome is Outcome.COMPLETED
    cut = home_of(nan_base, tmp_path / "cut")
    folder = cut.job("job-1", lines)
    parts = 0
    while cut.stopping_at(3).run_job(cut.config(folder, epochs=2)).outcome is Outcome.STOPPED:
        parts += 1
    assert parts > 2
    assert cut.recorder.losses == whole.recorder.losses
    assert list(cut.hashes(cut.last().name).values()) == list(whole.hashes(whole.last().name).values())
    assert [line.line for line in poison_of(folder)] == [
        line.line for line in poison_of(whole.paths.state("processing") / "job-1")
    ]


def test_step_of_nothing_but_poison_is_passed_over(nan_base: tuple[Path, str], tmp_path: Path) -> None:
    home = home_of(nan_base, tmp_path / "home")
    folder = home.job("job-1", poisoned(3, [1, 2, 3]))
    result = home.engine().run_job(home.config(folder, micro_batch=1, accumulation=1))
    assert (result.outcome, result.rows_done, result.global_step) == (Outcome.COMPLETED, 3, 0)
    assert len(poison_of(folder)) == 3


def test_weights_that_are_broken_convict_no_line(nan_base: tuple[Path, str], tmp_path: Path) -> None:
    home = home_of(nan_base, tmp_path / "home")
    folder = home.job("job-1", sums(16))
    engine = home.stopping_at(1)
    assert engine.run_job(home.config(folder)).outcome is Outcome.STOPPED
    stream = engine._stream
    assert stream is not None
    with torch.no_grad():
        next(iter(stream.model.parameters())).fill_(math.nan)
    result = engine.run_job(home.config(home.job("job-2", sums(16))))
    assert result.outcome is Outcome.DIVERGED
    assert poison_of(home.paths.state("processing") / "job-2") == []


def test_file_with_too_many_poisoned_lines_diverges_and_names_none(nan_base: tuple[Path, str], tmp_path: Path) -> None:
    home = home_of(nan_base, tmp_path / "home")
    folder = home.job("job-1", poisoned(40, range(1, 41, 2)))
    assert home.engine().run_job(home.config(folder)).outcome is Outcome.DIVERGED
    assert len(poison_of(folder)) <= 3


def test_audit_counts_poisoned_lines_of_a_completed_job_as_failed(nan_base: tuple[Path, str], tmp_path: Path) -> None:
    home = home_of(nan_base, tmp_path / "home")
    folder = home.job("20261120-120000000-9f2c01ab-drop", poisoned(20, [4, 5]))
    assert home.engine().run_job(home.config(folder)).outcome is Outcome.COMPLETED
    (folder / "job.json").write_bytes(encode_pretty(job_record(folder.name, 20)))
    advance_head(home.ledger, "tiny", iso(datetime.now(UTC)))
    home.paths.state("completed").mkdir(parents=True)
    folder.rename(home.paths.state("completed") / folder.name)
    found = audit(home.paths)
    assert found.ok, found.invariants
    assert (found.lines.dropped, found.lines.trained, found.lines.failed, found.lines.unaccounted) == (20, 18, 2, 0)


@pytest.mark.parametrize("bad", [[], [0], [63], [5, 6], [0, 31, 63]])
def test_bisection_finds_every_bad_one_in_few_trials(bad: list[int]) -> None:
    found, trials = bisect(list(range(64)), lambda group: bool(set(group) & set(bad)))
    assert sorted(found) == bad
    assert trials <= len(bad) * (math.log2(64) + 2) + 1


def test_what_is_bad_only_together_is_nobodys_fault() -> None:
    found, _ = bisect(list(range(16)), lambda group: {3, 12} <= set(group))
    assert found == []


def _dying(home: Path, base: str, job: str, bad_token: int) -> None:
    """Train in this process, which dies as by a crash in native code when it is to look at the token."""

    def die(module: object, inputs: tuple[object, ...]) -> None:
        if inputs and torch.is_tensor(inputs[0]) and not inputs[0].is_floating_point() and bool((inputs[0] == bad_token).any()):
            os.kill(os.getpid(), signal.SIGKILL)

    torch.nn.modules.module.register_module_forward_pre_hook(die)
    torch.set_num_threads(1)
    training = TrainingHome(home, base)
    folder = training.paths.state("processing") / job
    engine = TrainerEngine(TrainingStatusWriter(folder / "progress.json"))
    result = engine.run_job(training.config(folder, every_s=math.inf))
    (folder / "outcome").write_text(f"{result.outcome.value} {result.permanent} {result.error}")


def lives_and_deaths(home: TrainingHome, folder: Path) -> tuple[list[str], str]:
    """Train a job with lines that kill, again and again until it ends; give how each trainer died, and the end."""
    token = token_of_bad(home.model.checkpoint(home.last().name))
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["tests.trainer.test_poison"])
    deaths: list[str] = []
    for _ in range(20):
        child = server.Process(target=_dying, args=(home.paths.home, home.base, "job-1", token))
        child.start()
        died = ProcessRef(pid=child.pid or 0, start_ticks=start_ticks(child.pid or 0) or 0, boot_id=this_process().boot_id)
        child.join(300)
        if child.exitcode == 0:
            return deaths, (folder / "outcome").read_text()
        assert child.exitcode == -signal.SIGKILL
        progress = read_if_there(Progress, folder / "progress.json")
        probe = probe_of(folder)
        is_probing = probe is not None and probe.by == died
        deaths.append("alone" if is_probing else "in a step")
        note = Attempt(
            at=iso(datetime.now(UTC)), event="adopted", by="test", outcome="trying" if is_probing else DEATH,
            step=progress.step if progress else None,
        )  # fmt: skip
        append_record(folder / "attempts.jsonl", encode(note))
    return deaths, "it never ended"


def test_line_that_kills_the_trainer_is_found_by_trying_it_alone(built: tuple[Path, str], tmp_path: Path) -> None:
    """Takes about 15 s: processes really die, forked from a server that has imported the trainer once."""
    home = home_of(built, tmp_path / "home")
    folder = home.job("job-1", poisoned(24, [6, 17]))
    deaths, end = lives_and_deaths(home, folder)
    assert end == "completed False None"
    assert [(line.line, line.code) for line in sorted(poison_of(folder), key=lambda line: line.line)] == [
        (6, "death"),
        (17, "death"),
    ]
    assert deaths.count("alone") == 4
    assert not (folder / PROBE).exists()


def test_job_with_more_killing_lines_than_it_may_have_fails_for_good(built: tuple[Path, str], tmp_path: Path) -> None:
    """Takes about 20 s: processes really die. The first three are found as ever; the fourth is one too many."""
    home = home_of(built, tmp_path / "home")
    folder = home.job("job-1", poisoned(24, [3, 9, 15, 21]))
    deaths, end = lives_and_deaths(home, folder)
    found = [line.line for line in poison_of(folder)]
    (last,) = {3, 9, 15, 21} - set(found)
    assert end.startswith("failed True ")
    assert f"died 2 times while it tried line {last} alone, and 3 of its 24 lines were left out before" in end
    assert ", ".join(map(str, sorted(found))) in end
    assert deaths.count("alone") == 8


def leave_probe(folder: Path, line: int, deaths: int) -> None:
    """Leave what a trainer leaves that died while it tried a line alone."""
    by = ProcessRef(pid=1, start_ticks=1, boot_id="gone")
    probe = Probe(job=folder.name, line=line, step=1, deaths=deaths, by=by, at="2026-11-20T12:00:00Z")
    (folder / PROBE).write_bytes(encode_pretty(probe))


def test_job_with_all_the_killing_lines_that_it_may_have_is_trained_without_them(home: TrainingHome) -> None:
    """The trainer was killed between the record of the last of them and the removal of its probe."""
    folder = home.job("job-1", sums(16))
    for line in (1, 2, 3):
        poison = PoisonLine(line=line, code="death", reason="", step=1, checkpoint="", probes=2, at="", raw_b64="")
        add_poison(folder, poison)
    leave_probe(folder, 3, deaths=1)
    assert home.engine().run_job(home.config(folder)).outcome is Outcome.COMPLETED
    assert [line.line for line in poison_of(folder)] == [1, 2, 3]
    assert not (folder / PROBE).exists()


def test_probe_that_a_power_cut_tore_says_nothing(home: TrainingHome) -> None:
    folder = home.job("job-1", sums(16))
    (folder / PROBE).write_bytes(b"")
    assert home.engine().run_job(home.config(folder)).outcome is Outcome.COMPLETED
    assert poison_of(folder) == []


@pytest.fixture(params=[lambda: torch.empty(10**15), lambda: bytearray(2**60)], ids=["torch", "Python"])
def short_of_memory(home: TrainingHome, request: pytest.FixtureRequest) -> Iterator[list[Exception]]:
    """Let every line with BAD need more memory than there is, in training and alone; gives the errors that came of it."""
    token, errors = token_of_bad(home.model.checkpoint(home.last().name)), list[Exception]()

    def allocate(module: object, inputs: tuple[object, ...]) -> None:
        if isinstance(module, torch.nn.Embedding) and bool((cast(torch.Tensor, inputs[0]) == token).any()):
            try:
                request.param()
            except Exception as error:
                errors.append(error)
                raise

    hook = torch.nn.modules.module.register_module_forward_pre_hook(allocate)
    yield errors
    hook.remove()


def test_line_for_which_memory_is_too_small_is_not_convicted(home: TrainingHome, short_of_memory: list[Exception]) -> None:
    folder = home.job("job-1", poisoned(16, [5]))
    result = home.engine().run_job(home.config(folder))
    assert (result.outcome, result.permanent) == (Outcome.FAILED, False)
    (error,) = short_of_memory
    assert isinstance(error, MemoryError) or (type(error) is RuntimeError and "can't allocate memory" in str(error))
    assert poison_of(folder) == []


def test_line_for_which_memory_is_too_small_alone_ends_the_run_and_is_not_convicted_later(
    home: TrainingHome, short_of_memory: list[Exception]
) -> None:
    folder = home.job("job-1", poisoned(16, [5]))
    for _ in range(2):
        note = Attempt(at=iso(datetime.now(UTC)), event="adopted", by="test", outcome=DEATH, step=0)
        append_record(folder / "attempts.jsonl", encode(note))
    for count in range(1, 4):
        result = home.engine().run_job(home.config(folder, micro_batch=16, accumulation=1, batch_tokens=4096))
        assert (result.outcome, result.permanent) == (Outcome.FAILED, False)
        assert len(short_of_memory) == count, "it ended where the line was tried, not in the step after"
        assert (poison_of(folder), probe_of(folder)) == ([], None)


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("std::bad_alloc"))
    with pytest.raises(RuntimeError) as wrong:
        torch.zeros(2) @ torch.zeros(3)
    assert not is_out_of_memory(wrong.value)
    assert not is_out_of_memory(IndexError("index out of range in self"))


def test_line_that_was_tried_when_somebody_killed_the_trainer_is_not_convicted(home: TrainingHome) -> None:
    folder = home.job("job-1", sums(16))
    assert home.stopping_at(1).run_job(home.config(folder)).outcome is Outcome.STOPPED
    for _ in range(2):
        note = Attempt(at=iso(datetime.now(UTC)), event="adopted", by="test", outcome=DEATH, step=1)
        append_record(folder / "attempts.jsonl", encode(note))
    leave_probe(folder, 3, deaths=0)
    assert home.engine().run_job(home.config(folder)).outcome is Outcome.COMPLETED
    assert poison_of(folder) == []
    assert not (folder / PROBE).exists()
    assert len([line for span in read_all(home) for line in span]) == 16


def read_all(home: TrainingHome) -> list[list[int]]:
    """Give the lines of every span in the history."""
    return [span.lines for checkpoint in home.ledger.checkpoints("tiny") for span in checkpoint.consumed]


def test_lines_are_tried_alone_without_changing_a_bit(home: TrainingHome, tmp_path: Path) -> None:
    whole = TrainingHome(shutil.copytree(home.paths.home, tmp_path / "whole"), home.base)
    lines = sums(32)
    assert whole.engine().run_job(whole.config(whole.job("job-1", lines))).outcome is Outcome.COMPLETED
    folder = home.job("job-1", lines)
    assert home.stopping_at(2).run_job(home.config(folder)).outcome is Outcome.STOPPED
    for _ in range(2):
        note = Attempt(at=iso(datetime.now(UTC)), event="adopted", by="test", outcome=DEATH, step=3)
        append_record(folder / "attempts.jsonl", encode(note))
    assert home.engine().run_job(home.config(folder)).outcome is Outcome.COMPLETED
    assert home.recorder.losses == whole.recorder.losses
    assert list(home.hashes(home.last().name).values()) == list(whole.hashes(whole.last().name).values())
