"""generate_data keeps the queue filled, never with examination items, and rests when all is learnt."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.config import DiskConfig, GenerationConfig, ModelConfig, SkillConfig, WeaverConfig
from core.errors import DiskLow, InvalidData
from core.evals.curriculum import Curriculum, SkillProgress
from core.evals.suite import load_frozen_prompts
from core.jobs.formats import detect
from core.jobs.job import Maker, Reason, Sidecar
from core.names import is_identifier
from core.records import decode_strict, encode_pretty
from core.skills.registry import get
from core.text.digest import problem_digest
from daemons.generate_data import HOLD_S, ORPHAN_S, GenerateData, apportion, batch_lines, mix
from tests.core.home_files import job_record
from tests.daemons.home_builder import SKILLS, TestHome


@pytest.fixture
def home(tmp_path: Path) -> TestHome:
    return TestHome(tmp_path)


def state(binary: int, syllables: int, target: int = 3, model: str = "tiny") -> Curriculum:
    """A curriculum with so many levels mastered."""
    skills = {
        name: SkillProgress(training_level=min(mastered + 1, target), mastered_level=mastered, target_level=target, levels=())
        for name, mastered in (("binary", binary), ("syllables", syllables))
    }
    return Curriculum(model=model, active_skill=None, skills=skills)


def show(home: TestHome, curriculum: Curriculum) -> None:
    (home.paths.status / "curriculum.json").write_bytes(encode_pretty(curriculum))


def files(home: TestHome) -> list[Path]:
    return sorted(path for path in (home.paths.inbox / "low").iterdir() if not path.name.endswith(".meta.json"))


def lines(path: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


def sidecar(path: Path) -> Sidecar:
    beside = path.with_name(path.name + ".meta.json")
    return decode_strict(Sidecar, beside.read_bytes(), str(beside))


def put_job(home: TestHome, state: str, number: int, accepted: int, reason: Reason | None = None) -> None:
    folder = home.paths.state(state) / f"20261120-{number:09d}-0123abcd-train-mixed-level1"
    folder.mkdir(parents=True)
    job = job_record(
        folder.name, accepted, spec="syllo_v1", source="generate_data", priority="low",
        generator=Maker(id="binary", version="1"), reason=reason,
    )  # fmt: skip
    (folder / "job.json").write_bytes(encode_pretty(job))


def tick(home: TestHome, daemon: GenerateData) -> Any:
    home.clock.passed_s += HOLD_S
    return daemon.tick(home.context("generate_data"))


def test_empty_queue_gets_one_batch_with_its_sidecar_and_both_skills(home: TestHome) -> None:
    show(home, state(0, 0))
    report = tick(home, GenerateData())
    [path] = files(home)
    assert path.name == "train_mixed_level1_512_20261120-213002000.jsonl"
    assert report.did == 512
    said = sidecar(path)
    assert (said.spec, said.priority, said.model, said.source) == ("syllo_v1", "low", "tiny", "generate_data")
    assert said.example_count == 512 and said.training.epochs and is_identifier(str(said.generator_id))
    assert Counter((line["skill"], line["level"]) for line in lines(path)) == {("binary", 1): 256, ("syllables", 1): 256}


def test_every_line_is_of_the_graded_format_right_and_not_of_an_examination(home: TestHome) -> None:
    frozen = load_frozen_prompts(home.paths.suites)
    assert len(frozen) > 600
    show(home, state(2, 2))
    tick(home, GenerateData())
    for line in lines(files(home)[0]):
        assert detect(line) == "syllo_v1"
        assert line["messages"] == [
            {"role": "user", "content": line["problem"]}, {"role": "assistant", "content": line["answer"]},
        ]  # fmt: skip
        assert get(line["skill"]).grade(line["problem"], line["level"], line["answer"])
        assert problem_digest(line["problem"]) not in frozen


def test_sidecar_is_enough_to_make_the_batch_again_and_the_next_batch_differs(home: TestHome) -> None:
    show(home, state(1, 0))
    daemon = GenerateData()
    tick(home, daemon)
    [first] = files(home)
    params = sidecar(first).params
    shares = {(part["skill"], part["level"]): part["count"] for part in params["parts"]}
    assert lines(first) == batch_lines(shares, params["seed"])
    first.rename(home.paths.home / "taken")
    tick(home, daemon)
    [second] = files(home)
    assert sidecar(second).params["seed"] != params["seed"]
    assert lines(second) != lines(home.paths.home / "taken")


def test_mixture_is_sixty_percent_new_and_forty_replayed() -> None:
    assert mix(state(0, 0), SKILLS, 512) == {("binary", 1): 256, ("syllables", 1): 256}
    assert mix(state(1, 0), SKILLS, 100) == {("binary", 1): 40, ("binary", 2): 30, ("syllables", 1): 30}
    assert mix(state(3, 1), SKILLS, 100) == {
        ("binary", 1): 10, ("binary", 2): 10, ("binary", 3): 10, ("syllables", 1): 10, ("syllables", 2): 60,
    }  # fmt: skip
    weighted = {"binary": SkillConfig(weight=3.0), "syllables": SkillConfig(weight=1.0)}
    assert mix(state(0, 0), weighted, 100) == {("binary", 1): 75, ("syllables", 1): 25}
    assert mix(state(0, 3), {"binary": SkillConfig(weight=0.0), "syllables": SkillConfig()}, 100) == {}


def test_apportioned_parts_add_up() -> None:
    assert apportion({("a", 1): 1.0, ("b", 1): 1.0, ("c", 1): 1.0}, 100) == {("a", 1): 34, ("b", 1): 33, ("c", 1): 33}
    assert apportion({}, 0) == {}


def test_file_of_one_skill_bears_its_name_and_its_checkpoints_will_too(home: TestHome) -> None:
    only = state(1, 0)
    show(home, Curriculum(model="tiny", active_skill=None, skills={"binary": only.skills["binary"]}))
    tick(home, GenerateData())
    [path] = files(home)
    assert path.name.startswith("train_binary_level2_512_")
    assert (sidecar(path).params["skill"], sidecar(path).params["level"], sidecar(path).generator_id) == ("binary", 2, "binary")


def test_nothing_is_written_while_enough_waits_queued_in_the_inbox_or_being_validated(home: TestHome) -> None:
    show(home, state(0, 0))
    daemon = GenerateData()
    put_job(home, "low", 1, accepted=511)
    assert tick(home, daemon).did == 512
    for _ in range(5):
        assert tick(home, daemon).did == 0
    [path] = files(home)
    building = home.paths.building / "20261120-213000000-0123abcd-train-mixed-level1-512"
    building.mkdir()
    path.rename(building / "raw")
    assert tick(home, daemon).did == 0
    (building / "raw").unlink()
    building.rmdir()
    put_job(home, "low", 2, accepted=512)
    assert tick(home, daemon).did == 0
    assert len(files(home)) == 0


def test_batch_just_taken_holds_the_next_back_for_a_moment(home: TestHome) -> None:
    show(home, state(0, 0))
    daemon = GenerateData()
    tick(home, daemon)
    files(home)[0].unlink()
    assert daemon.tick(home.context("generate_data")).did == 0
    assert tick(home, daemon).did == 512


def test_killed_daemon_does_not_run_ahead_when_it_starts_again(home: TestHome) -> None:
    show(home, state(0, 0))
    for _ in range(5):
        tick(home, GenerateData())
    assert len(files(home)) == 1


def test_rest_begins_when_all_targets_are_mastered_and_ends_with_a_lost_level(home: TestHome) -> None:
    daemon = GenerateData()
    show(home, state(3, 3))
    report = tick(home, daemon)
    assert report.note == "nothing to learn" and files(home) == []
    show(home, state(3, 1))
    assert tick(home, daemon).did == 512


@pytest.mark.parametrize(
    ("base", "enabled", "writes"),
    [
        ("builtin:tiny-qwen3", None, True),
        ("builtin:tiny-qwen3", False, False),
        ("/data/q", None, False),
        ("/data/q", True, True),
    ],
)
def test_model_that_is_not_embedded_gets_data_only_when_a_person_says_so(
    home: TestHome, base: str, enabled: bool | None, writes: bool
) -> None:
    models = {"mine": ModelConfig(base=base)}
    home.configure(weaver=WeaverConfig(model="mine", models=models, generation=GenerationConfig(enabled=enabled)))
    show(home, state(0, 0, model="mine"))
    assert bool(tick(home, GenerateData()).did) == writes


def test_missing_damaged_or_foreign_curriculum_is_waited_for(home: TestHome) -> None:
    daemon = GenerateData()
    assert tick(home, daemon).note == "waits for the curriculum"
    (home.paths.status / "curriculum.json").write_bytes(b"{")
    assert tick(home, daemon).note == "waits for the curriculum"
    show(home, state(0, 0, model="other"))
    assert tick(home, daemon).note == "waits for the curriculum"
    assert files(home) == []


def test_low_disk_stops_generation(home: TestHome) -> None:
    show(home, state(0, 0))
    home.configure(weaver=WeaverConfig(disk=DiskConfig(floor_gb=10**9)))
    with pytest.raises(DiskLow):
        tick(home, GenerateData())
    assert files(home) == []


def test_three_rejected_batches_in_a_row_stop_generation_until_someone_looks(home: TestHome) -> None:
    show(home, state(0, 0))
    daemon = GenerateData()
    put_job(home, "completed", 1, accepted=512)
    for number in (2, 3):
        put_job(home, "rejected", number, accepted=0, reason=Reason(code="wrong_spec", message="not this way"))
    assert tick(home, daemon).did == 512
    files(home)[0].unlink()
    put_job(home, "rejected", 4, accepted=0, reason=Reason(code="wrong_spec", message="not this way"))
    with pytest.raises(InvalidData, match="not this way"):
        tick(home, daemon)
    assert files(home) == []


def test_batch_that_a_person_removed_is_no_rejection(home: TestHome) -> None:
    show(home, state(0, 0))
    for number in range(4):
        put_job(home, "rejected", number, accepted=512)
    assert tick(home, GenerateData()).did == 512


def test_sidecar_without_data_of_a_killed_daemon_is_swept(home: TestHome) -> None:
    show(home, state(0, 0))
    low = home.paths.inbox / "low"
    old, young, foreign = (
        low / f"{name}.jsonl.meta.json"
        for name in ("train_mixed_level1_512_20261120-212800000", "train_mixed_level1_512_20261120-212959000", "people")
    )
    now = home.clock.now().timestamp() + HOLD_S
    for path, age_s in ((old, ORPHAN_S + 10), (young, 1), (foreign, ORPHAN_S + 10)):
        path.write_bytes(b"{}")
        os.utime(path, (now - age_s,) * 2)
    tick(home, GenerateData())
    assert [path.exists() for path in (old, young, foreign)] == [False, True, True]
