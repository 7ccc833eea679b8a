"""GET /metrics is strictly the text format of Prometheus, says what is known, and is silent about what is not."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from core.clock import SystemClock
from core.jobs.lineage import Lineage, MakerTally, Outcomes
from core.overview import Overview, SkillLine, collect
from core.paths import STATES
from core.status import GpuStatus, ServingStatus, State, TrainingStatus
from tests.core.home_files import beat, healthy, make_home, program, put_job, supervise
from tests.weaver.web.web_process import WebProcess
from weaver.web.metrics import metrics

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(,|$)')
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (-?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?))")

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parse(text: str) -> Samples:
    """Read the text format 0.0.4 and refuse whatever it does not allow. Raises AssertionError."""
    samples: Samples = {}
    typed: set[str] = set()
    family, state = "", "end"
    assert text.endswith("\n")
    for line in text.removesuffix("\n").split("\n"):
        if found := re.fullmatch(rf"# HELP ({NAME}) ([^\n\\]*)", line):
            assert state in ("end", "samples") and found[1] not in typed, line
            family, state = found[1], "help"
        elif found := re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge|histogram|summary|untyped)", line):
            assert state == "help" and found[1] == family, line
            typed.add(family)
            state = "type"
        else:
            sample = SAMPLE.fullmatch(line)
            assert sample is not None, line
            assert state in ("type", "samples") and sample[1] == family, line
            key = (sample[1].removeprefix("weaver_"), tuple(labels(sample[2] or "")))
            assert key not in samples, line
            samples[key] = float(sample[3])
            state = "samples"
    assert state == "samples"
    return samples


def labels(text: str) -> Iterator[tuple[str, str]]:
    """Read the labels of one sample."""
    at, more = 0, ""
    while at < len(text):
        found = LABEL.match(text, at)
        assert found is not None, text
        value = re.sub(r"\\(.)", lambda escape: {"n": "\n"}.get(escape[1], escape[1]), found[2])
        yield found[1], value
        at, more = found.end(), found[3]
    assert not more, text


def value(samples: Samples, name: str, /, **wanted: str) -> float | None:
    """Give the one sample of a name with these labels among its own; None when there is none."""
    found = [number for (there, own), number in samples.items() if there == name and wanted.items() <= dict(own).items()]
    assert len(found) <= 1, found
    return found[0] if found else None


@pytest.fixture
def overview(tmp_path: Path) -> Overview:
    """Give the overview of a home in which programs run and jobs lie."""
    paths = make_home(tmp_path / "home")
    healthy(paths, "web", "watch_inbox")
    put_job(paths, "normal")
    return collect(paths, {}, SystemClock())


def changed(overview: Overview, **status: object) -> Overview:
    return msgspec.structs.replace(overview, status=msgspec.structs.replace(overview.status, **status))


def test_route_answers_in_the_format_and_counts_what_lies_there(web: WebProcess) -> None:
    shutil.rmtree(web.paths.queue)
    web.paths.make()
    put_job(web.paths, "normal")
    answer = web.ask("GET", "/metrics")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    samples = parse(answer.body.decode())
    assert {state: value(samples, "queue_jobs", state=state) for state in STATES} == {
        state: float(state == "normal") for state in STATES
    }
    assert value(samples, "state", state="healthy") == 0
    assert value(samples, "state", state="degraded") == 1
    assert value(samples, "program_up", program="web") == 1
    assert value(samples, "queue_paused") == 0
    free = value(samples, "disk_free_bytes")
    assert free is not None and free > 0
    assert value(samples, "disk_floor_bytes") == 5 * 2**30


def test_what_is_not_known_is_absent_and_never_0(overview: Overview) -> None:
    samples = parse(metrics(overview, None))
    for name in (
        "training_step", "training_loss", "training_tokens_per_second", "serving_info", "serving_proof_age_seconds",
        "gpu_memory_used_bytes", "gpu_utilisation_ratio", "skill_mastered_level", "intake_lines",
    ):  # fmt: skip
        assert not [key for key in samples if key[0] == name], name
    unknown = changed(overview, disk=msgspec.structs.replace(overview.status.disk, floor_bytes=None), supervisor=None)
    samples = parse(metrics(unknown, None))
    assert value(samples, "disk_floor_bytes") is None
    assert value(samples, "up_seconds") is None


def test_training_serving_skills_and_gpus_are_said(overview: Overview) -> None:
    training = TrainingStatus(
        pid=1, phase="train", model="tiny", job="j", step=10, total_steps=20, loss=0.25, tokens_per_s=None, eta_s=3.5
    )
    gpus = [GpuStatus(index=0, name="H", memory_total_bytes=2**36, memory_used_bytes=None, utilisation=0.5)]
    full = changed(
        overview, training=training, gpus=gpus,
        serving=ServingStatus(checkpoint="tiny/checkpoint-5", host="local", verified_at="x"),
    )  # fmt: skip
    skill = SkillLine(skill="binary", mastered_level=2, training_level=3, target_level=5, passes=0)
    samples = parse(metrics(msgspec.structs.replace(full, skills=[skill], proof_age_s=12.5), None))
    assert value(samples, "training_step", model="tiny") == 10
    assert value(samples, "training_loss", model="tiny") == 0.25
    assert value(samples, "training_tokens_per_second") is None
    assert value(samples, "serving_info", checkpoint="tiny/checkpoint-5", host="local") == 1
    assert value(samples, "serving_proof_age_seconds") == 12.5
    assert value(samples, "skill_mastered_level", skill="binary") == 2
    assert value(samples, "gpu_memory_total_bytes", gpu="0", name="H") == 2**36
    assert value(samples, "gpu_memory_used_bytes") is None
    assert value(samples, "gpu_utilisation_ratio", gpu="0") == 0.5


def test_programs_have_age_and_restarts_and_one_of_unknown_state_is_neither_up_nor_down(tmp_path: Path) -> None:
    paths = make_home(tmp_path / "home")
    supervise(paths, [program("web", restarts=3), program("oracle", State.FATAL)])
    beat(paths, "web", age_s=1.5)
    overview = collect(paths, {}, SystemClock())
    rows = [*overview.status.daemons, msgspec.structs.replace(overview.status.daemons[0], name="lost", state=State.UNKNOWN)]
    samples = parse(metrics(changed(overview, daemons=rows), None))
    assert value(samples, "program_restarts", program="web") == 3
    age = value(samples, "heartbeat_age_seconds", program="web")
    assert age is not None and 1.5 <= age < 60
    assert value(samples, "program_up", program="oracle") == 0
    assert value(samples, "program_up", program="lost") is None


def test_label_values_are_escaped(overview: Overview) -> None:
    hostile = 'a"b\\c\nd{e="f"} 1'
    lines = Outcomes(total=10, passed=6, failed=3, duplicate=1)
    made = MakerTally(id=hostile, version=None, jobs=lines, lines=lines, fail_rate=0.3, reasons=[], uncounted=0, worst=[])
    samples = parse(metrics(overview, Lineage(jobs=1, unreadable=0, generators=[made], validators=[])))
    assert value(samples, "intake_lines", generator=hostile, result="failed") == 3
    assert value(samples, "intake_lines", generator=hostile, result="passed") == 6
    assert value(samples, "intake_lines", generator=hostile, result="duplicate") == 1


@pytest.mark.parametrize(
    "text",
    ["a 1\n", "# TYPE a gauge\na 1\n", "# HELP a b\n# TYPE a gauge\n", "# HELP a b\n# TYPE a gauge\na 1\na 2\n",
     '# HELP a b\n# TYPE a gauge\na{x="y"z"} 1\n', "# HELP a b\n# TYPE a gauge\na 1", "# HELP a b\n# TYPE a gauge\na NaN\n",
     "# HELP a b\n# TYPE a gauge\nb 1\n", '# HELP a b\n# TYPE a gauge\na{x="y",} 1\n'],
)  # fmt: skip
def test_parser_of_this_test_refuses_what_is_not_the_format(text: str) -> None:
    with pytest.raises(AssertionError):
        parse(text)
