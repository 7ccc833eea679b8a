"""weaver events, trace and why: from what a person types to what the records say."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest

from core.jobs.job import Line, QuarantinedLine
from core.jobs.poison import PoisonLine, add_poison
from core.log import write_event
from core.paths import Paths
from core.records import encode
from tests.core.accounting.test_lines import put_head, train
from tests.core.home_files import healthy, make_home, put_job
from tests.weaver.cli.command import weaver


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return make_home(tmp_path / "home")


def say(paths: Paths, state: str, job: str, *texts: str) -> None:
    """Give a job these lines."""
    lines = (json.dumps({"messages": [{"role": "user", "content": text}]}) + "\n" for text in texts)
    (paths.state(state) / job / "data.jsonl").write_text("".join(lines))


def test_line_is_followed_to_the_steps_and_checkpoints_that_hold_it(paths: Paths) -> None:
    job = put_job(paths, "completed", accepted=2)
    say(paths, "completed", job, "the capital of France", 'the river "Seine"')
    first = train(paths, 10, train(paths, 0, None, {}), {job: [2]})
    second = train(paths, 25, first, {job: [1]})
    put_head(paths, second)
    told = weaver(paths.home, "trace", "capital of France")
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines()[0].startswith(f"trained    {job}")
    assert f"epoch 0: steps 11-25, tiny/{second}" in told.stdout
    found = json.loads(weaver(paths.home, "trace", f"{job}:2", "--json").stdout)
    assert found["schema"] == "weaver.trace/1"
    line = found["lines"][0]
    assert (line["fate"], line["line"], line["passages"][0]["checkpoint"]) == ("trained", 2, f"tiny/{first}")
    assert (line["passages"][0]["steps_from"], line["passages"][0]["steps_to"]) == (1, 10)
    assert json.loads(weaver(paths.home, "trace", 'river "Seine"', "--json").stdout)["lines"] == [line]


def test_line_whose_training_was_taken_back_is_reverted(paths: Paths) -> None:
    job = put_job(paths, "completed", accepted=1)
    say(paths, "completed", job, "hello")
    base = train(paths, 0, None, {})
    train(paths, 10, base, {job: [1]})
    put_head(paths, base)
    told = weaver(paths.home, "trace", "hello")
    assert told.stdout.startswith("reverted")
    assert "off the surviving history" in told.stdout


@pytest.mark.parametrize(("state", "fate"), [("normal", "pending"), ("processing", "pending"), ("failed", "failed")])
def test_line_that_no_checkpoint_holds_says_where_it_waits(paths: Paths, state: str, fate: str) -> None:
    say(paths, state, put_job(paths, state, accepted=1), "hello")
    assert weaver(paths.home, "trace", "hello").stdout.startswith(fate)


def test_refused_and_poisoned_lines_say_why(paths: Paths) -> None:
    job = put_job(paths, "completed", accepted=1, rejected=1)
    say(paths, "completed", job, "poison apple")
    folder = paths.state("completed") / job
    refused = QuarantinedLine(
        line=7, offset=99, code="bad_role", reason="no such role", raw_b64=base64.b64encode(b"bad \x1b[31mapple").decode()
    )
    (folder / "quarantine.jsonl").write_bytes(encode(refused) + b"\n")
    poison = PoisonLine(line=1, code="loss", reason="its loss is nan", step=3, checkpoint="", probes=7, at="", raw_b64="")
    add_poison(folder, poison)
    told = weaver(paths.home, "trace", "apple")
    assert "line 7 of the drop" in told.stdout
    assert "bad_role: no such role" in told.stdout
    assert "its loss is nan" in told.stdout
    assert "\x1b" not in told.stdout
    fates = [line["fate"] for line in json.loads(weaver(paths.home, "trace", "apple", "--json").stdout)["lines"]]
    assert sorted(fates) == ["failed", "rejected"]


@pytest.mark.parametrize("text", ['say "yes"', "C:\\new", "one\ntwo", "a\tb", "a\rb\x08c\x01d", "Müller", "a/b"])
def test_text_is_found_as_json_writes_it(paths: Paths, text: str) -> None:
    job = put_job(paths, "normal", accepted=2)
    lines = (encode(Line([{"role": "user", "content": f"before {one} after"}])) + b"\n" for one in (text, "another"))
    (paths.state("normal") / job / "data.jsonl").write_bytes(b"".join(lines))
    found = json.loads(weaver(paths.home, "trace", text, "--json").stdout)["lines"]
    assert [line["line"] for line in found] == [1]


def test_text_in_many_lines_is_cut_and_says_so(paths: Paths) -> None:
    say(paths, "normal", put_job(paths, "normal", accepted=5), *["again"] * 5)
    told = weaver(paths.home, "trace", "again", "-n", "2")
    assert told.stdout.count("pending") == 2
    assert "There are more" in told.stdout


@pytest.mark.parametrize(
    ("query", "code"), [("nowhere to be found", 5), ("20261120-000000000-00000000-x:1", 5), ("  ", 2), ("a\udcff", 2)]
)
def test_what_cannot_be_traced_has_its_exit_code(paths: Paths, query: str, code: int) -> None:
    told = weaver(paths.home, "trace", query)
    assert (told.returncode, told.stdout) == (code, "")
    assert told.stderr.startswith("weaver: ")


def test_line_number_that_the_job_does_not_have_names_those_it_has(paths: Paths) -> None:
    job = put_job(paths, "normal", accepted=3)
    told = weaver(paths.home, "trace", f"{job}:9")
    assert told.returncode == 5
    assert "lines 1 to 3" in told.stderr


def test_events_of_all_programs_are_merged_by_time_and_chosen_by_what_they_name(paths: Paths) -> None:
    write_event(paths, "watch_inbox", "queued", job="a", name="my \x1b[31mfile")
    write_event(paths, "train_next", "claimed", job="a")
    write_event(paths, "weaver", "died", name="web", reason="killed")
    told = weaver(paths.home, "events").stdout
    assert [line.split()[1] for line in told.splitlines()] == ["watch_inbox", "train_next", "weaver"]
    assert "\x1b" not in told
    assert len(weaver(paths.home, "events", "a").stdout.splitlines()) == 2
    assert [line.split()[1] for line in weaver(paths.home, "events", "claimed").stdout.splitlines()] == ["train_next"]
    found = json.loads(weaver(paths.home, "events", "-n", "1", "--json").stdout)
    assert [(event["program"], event["facts"]) for event in found["events"]] == [
        ("weaver", {"name": "web", "reason": "killed"})
    ]


def test_torn_event_is_passed_over(paths: Paths) -> None:
    write_event(paths, "web", "one")
    with (paths.logs / "events" / "web.jsonl").open("a") as file:
        file.write('{"at": "2026')
    assert len(weaver(paths.home, "events").stdout.splitlines()) == 1


def test_why_of_a_checkpoint_says_what_was_decided_and_why_it_stays(paths: Paths) -> None:
    base = train(paths, 0, None, {})
    name = train(paths, 10, base, {})
    put_head(paths, name)
    write_event(paths, "trainer", "checkpoint", checkpoint=name)
    told = weaver(paths.home, "why", "tiny@10")
    assert told.returncode == 0, told.stderr
    assert f"checkpoint tiny/{name}: on disk; it stays: it is the head" in told.stdout
    assert "it is of the surviving history" in told.stdout
    assert "trainer" in told.stdout.split("what happened:")[1]
    off = train(paths, 20, base, {}, suffix="-2")
    assert "off the surviving history" in weaver(paths.home, "why", off).stdout
    shutil.rmtree(paths.model("tiny").checkpoint(off))
    assert "its weights were removed" in weaver(paths.home, "why", off).stdout


def test_why_of_a_job_and_of_a_program(paths: Paths) -> None:
    healthy(paths, "web")
    job = put_job(paths, "normal", accepted=3)
    write_event(paths, "watch_inbox", "queued", job=job)
    found = json.loads(weaver(paths.home, "why", job, "--json").stdout)
    assert (found["kind"], found["id"], len(found["events"])) == ("job", job, 1)
    assert weaver(paths.home, "why", "web").stdout.startswith("program web: RUNNING, web works")
    told = weaver(paths.home, "why", "nonsense")
    assert told.returncode == 5
    assert "programs web" in told.stderr
