"""weaver data check, preview, stats, convert, through the real command line; the verdict against a real tick of watch_inbox."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from core.jobs.job import Job, QuarantinedLine
from core.paths import Paths
from core.records import decode, decode_strict
from core.skills import registry
from core.skills.skill import generate
from tests.core.home_files import CHECKOUT
from tests.daemons.inbox_builder import InboxHome, chat, good, jsonl, make_tokenizer
from tests.fakes import make_home, wait_for
from tests.weaver.cli.command import command, environment, weaver
from weaver.cli.data_check import DataCheck
from weaver.cli.data_convert import Converted
from weaver.cli.data_preview import Preview
from weaver.cli.data_stats import DataStats

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def inbox(tmp_path: Path, tokenizer_folder: Path) -> InboxHome:
    home = InboxHome(tmp_path / "home", tokenizer_folder)
    home.paths.config.mkdir(exist_ok=True)
    for name in ("hosts.json", "weaver.yaml"):  # the defaults, which the daemon of the test has too
        shutil.copy(CHECKOUT / "config" / name, home.paths.config / name)
    return home


def everything_in(folder: Path) -> dict[str, str]:
    """Give the digest of every file below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def corpus() -> dict[str, tuple[bytes, dict[str, object] | None]]:
    """Give files of every kind of verdict: name -> content and sidecar."""
    kinds: dict[str, tuple[str | bytes, dict[str, object] | None]] = {
        "good.jsonl": (jsonl(good(5)), None),
        "some-bad.jsonl": (jsonl([*good(60, 100), "{", "", chat("x", "")]), None),
        "too-many-bad.jsonl": (jsonl([*good(3, 200), "{", "[]"]), None),
        "empty.jsonl": ("", None),
        "blank.jsonl": ("\n \n", None),
        "binary.jsonl": (b"\xff\xfe\x00a\n", None),
        "mapped.jsonl": (jsonl([json.dumps({"q": "one", "a": "two"})] * 3), {"columns": {"prompt": "q", "completion": "a"}}),
        "unmapped.jsonl": (jsonl([json.dumps({"q": "one", "a": "two"})]), None),
        "bad-map.jsonl": (jsonl([json.dumps({"q": "one"})]), {"columns": {"bogus": "q"}}),
        "no-model.jsonl": (jsonl(good(1, 300)), {"model": "other"}),
        "preference.jsonl": (jsonl([json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"})]), None),
        "text.jsonl": (jsonl([json.dumps({"text": "words"})]), None),
        "text-asked.jsonl": (jsonl([json.dumps({"text": "words"})]), {"spec": "text_v1"}),
        "raw.jsonl": (jsonl([json.dumps({"prompt": "a", "completion": "b", "raw": True})]), None),
        "long.jsonl": (jsonl([*good(3, 400), chat("long", "word " * 2000)]), None),
        "forged.jsonl": (jsonl([*good(30, 500), chat("<|im_end|>", "x")]), None),
        "repeats.jsonl": (jsonl([*good(3, 600), *good(3, 600)]), {"drop_duplicate_lines": True, "priority": "low"}),
        "generated.jsonl": (jsonl(generated(4)), {"generator_id": "binary", "source": "generate_data"}),
        "packed.jsonl.gz": (gzip.compress(jsonl(good(4, 700)).encode()), None),
        "torn.jsonl.gz": (gzip.compress(jsonl(good(4, 800)).encode())[:-10], None),
        "table.csv": ("prompt,completion\n1 and 1,2\n2 and 2,4\n", None),
        "array.json": (json.dumps([json.loads(line) for line in good(4, 900)]), None),
        "notes.txt": ("words\n", None),
    }  # fmt: skip
    return {name: (body.encode() if isinstance(body, str) else body, side) for name, (body, side) in kinds.items()}


def generated(count: int) -> list[str]:
    """Write lines as generate_data does."""
    problems = generate(registry.get("binary"), 1, count, 7)
    return [chat(p.prompt, p.answer, skill="binary", level=1, problem=p.prompt, answer=p.answer) for p in problems]


def _all_jobs(inbox: InboxHome, count: int) -> dict[str, Job] | None:
    inbox.settle()
    jobs = inbox.jobs()
    return jobs if len(jobs) == count else None


def comparable(job: Job) -> dict[str, object]:
    """Give a job's record without what depends on when it was dropped."""
    facts = msgspec.to_builtins(job)
    return {key: value for key, value in facts.items() if key not in ("id", "received_at")}


def test_check_gives_the_verdict_and_the_quarantine_of_watch_inbox_and_writes_nothing(inbox: InboxHome, tmp_path: Path) -> None:
    """Takes half a minute on a busy machine: every packed file is unpacked by a process, twice."""
    folder = tmp_path / "mine"
    folder.mkdir()
    files = corpus()
    for name, (body, sidecar) in files.items():
        (folder / name).write_bytes(body)
        if sidecar is not None:
            (folder / f"{name}.meta.json").write_text(json.dumps({"schema": "weaver.sidecar/1", **sidecar}))
    before = everything_in(inbox.paths.home)
    done = weaver(inbox.paths.home, "data", "check", *(str(folder / name) for name in files), "--json")
    assert (done.returncode, done.stderr) == (6, "")
    assert everything_in(inbox.paths.home) == before
    found = {Path(one.file).name: one for one in decode_strict(DataCheck, done.stdout.encode(), "stdout").files}
    for name, (body, sidecar) in files.items():
        inbox.drop(name, body, sidecar)
    jobs = wait_for("a job of every file", lambda: _all_jobs(inbox, len(files)), 120.0)
    assert jobs.keys() == files.keys() == found.keys()
    for name, job in jobs.items():
        assert comparable(found[name].job) == comparable(job), name
        assert found[name].accepted is (job.reason is None)
        lies = inbox.spool.folder(job.id) / "quarantine.jsonl"
        real = [decode(QuarantinedLine, line, name) for line in lies.read_bytes().splitlines()] if lies.exists() else []
        assert sum(found[name].codes.values()) == len(real), name
        assert [line.line for line in found[name].refused] == [line.line for line in real[:3]]
        assert [line.reason for line in found[name].refused] == [line.reason for line in real[:3]]
    codes = {job.reason.code for job in jobs.values() if job.reason}
    assert {"not_json", "empty_file", "unknown_keys", "preference_data", "text_needs_opt_in", "unknown_ending"} <= codes


def test_what_is_no_plain_file_gets_its_verdict_unopened(inbox: InboxHome, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    for name in (str(tmp_path / "pipe.jsonl"), str(tmp_path), ".", "..", "/dev/zero"):
        done = weaver(inbox.paths.home, "data", "check", name)
        assert done.returncode == 6, (name, done.stderr)
        assert "not_a_regular_file" in done.stdout
    assert weaver(inbox.paths.home, "data", "check", "/").returncode == 2


def test_check_names_the_job_of_which_it_would_be_a_duplicate(inbox: InboxHome, tmp_path: Path) -> None:
    inbox.drop("first.jsonl", jsonl(good(3)))
    inbox.settle()
    first = inbox.jobs()["first.jsonl"]
    (tmp_path / "copy.jsonl").write_text(jsonl(good(3)))
    done = weaver(inbox.paths.home, "data", "check", str(tmp_path / "copy.jsonl"))
    assert done.returncode == 6
    assert f"duplicate of {first.id}" in done.stdout


def test_check_before_the_first_start_uses_the_tokenizer_that_the_model_will_have(tmp_path: Path) -> None:
    paths = make_home(tmp_path / "home")
    (tmp_path / "a.jsonl").write_text(jsonl(good(3)))
    done = weaver(paths.home, "data", "check", str(tmp_path / "a.jsonl"))
    assert done.returncode == 0, done.stderr
    assert "accepted (chat_sft_v1)" in done.stdout
    assert not list(paths.models.iterdir())


def test_options_stand_for_a_sidecar_and_go_before_it(inbox: InboxHome, tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text(jsonl([json.dumps({"q": "one", "a": "two", "b": "three"})] * 2))
    maps = ["--map", "prompt=q", "--map", "completion=a"]
    assert weaver(inbox.paths.home, "data", "check", str(file)).returncode == 6
    assert weaver(inbox.paths.home, "data", "check", str(file), *maps).returncode == 0
    side = tmp_path / "other.json"
    side.write_text(json.dumps({"schema": "weaver.sidecar/1", "columns": {"prompt": "q", "completion": "nope"}}))
    assert weaver(inbox.paths.home, "data", "check", str(file), "--sidecar", str(side)).returncode == 6
    done = weaver(inbox.paths.home, "data", "preview", str(file), "--sidecar", str(side), *maps[:3], "completion=b")
    assert "[[three" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--map", "prompt"], 2), (["--map", "bogus=q"], 2), (["--spec", "bogus"], 2), (["--model", "bogus"], 5),
     (["--sidecar", "nowhere.json"], 6), ([], 6)],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_its_exit_code(inbox: InboxHome, arguments: list[str], code: int) -> None:
    done = weaver(inbox.paths.home, "data", "check", "nowhere.jsonl", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("weaver: ")


# -- preview -------------------------------------------------------------------------------------------------------------


def test_preview_marks_exactly_what_is_trained(inbox: InboxHome, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    turns = [("user", "one"), ("assistant", "two"), ("user", "three"), ("assistant", "four")]
    messages = [{"role": role, "content": text} for role, text in turns]
    messages[1]["weight"] = 0  # type: ignore[assignment]
    file.write_text(json.dumps({"messages": messages}) + "\n\n{\n" + jsonl(good(2)))
    done = weaver(inbox.paths.home, "data", "preview", str(file), "-n", "3")
    assert (done.returncode, done.stderr) == (0, "")
    assert "[[four<|im_end|>]]" in done.stdout and "[[two" not in done.stdout
    assert "line 3: left out, not_json" in done.stdout
    found = decode_strict(
        Preview, weaver(inbox.paths.home, "data", "preview", str(file), "-n", "3", "--json").stdout.encode(), ""
    )
    assert [line.line for line in found.lines] == [1, 3, 4]
    trained = [span.text for span in found.lines[0].examples[0] if span.trained]
    assert trained == ["four<|im_end|>"]
    assert found.lines[0].tokens > found.lines[0].trained > 0
    assert "".join(span.text for span in found.lines[0].examples[0]).startswith("<|im_start|>user\none<|im_end|>")


def test_preview_of_one_line_by_its_number(inbox: InboxHome, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(jsonl([*good(40), "{", "", *good(3, 50)]))
    shown = weaver(inbox.paths.home, "data", "preview", str(file), "--line", "44")
    assert shown.stdout.startswith("line 44:") and "What is 51 and one?" in shown.stdout
    assert "line 41: left out, not_json" in weaver(inbox.paths.home, "data", "preview", str(file), "--line", "41").stdout
    for beyond in ("42", "46"):
        done = weaver(inbox.paths.home, "data", "preview", str(file), "--line", beyond)
        assert (done.returncode, done.stdout) == (5, "")


def test_preview_of_a_packed_table_shows_its_records(inbox: InboxHome, tmp_path: Path) -> None:
    file = tmp_path / "a.csv.gz"
    file.write_bytes(gzip.compress(b"prompt,completion\n1 and 1,2\n2 and 2,4\n"))
    done = weaver(inbox.paths.home, "data", "preview", str(file))
    assert done.returncode == 0, done.stderr
    assert "[[2<|im_end|>]]" in done.stdout and "[[4<|im_end|>]]" in done.stdout


def test_preview_of_a_refused_file_says_why_with_6(inbox: InboxHome, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(jsonl([json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"})]))
    done = weaver(inbox.paths.home, "data", "preview", str(file))
    assert (done.returncode, done.stdout) == (6, "")
    assert "preference_data" in done.stderr


def test_preview_at_a_terminal_is_coloured_unless_no_color_and_obeys_nothing_in_the_data(
    inbox: InboxHome, tmp_path: Path
) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(jsonl([chat("a\x1b]0;owned\x07b", "red\x1b[31m!")]))
    for no_color, has_colour in (("", True), ("1", False)):
        leader, follower = os.openpty()
        with os.fdopen(follower, "wb") as terminal:
            environ = environment(inbox.paths.home, NO_COLOR=no_color, TERM="xterm")
            done = subprocess.run(
                command("data", "preview", str(file)), stdout=terminal, stderr=subprocess.PIPE, env=environ, cwd=tmp_path,
                timeout=60, check=False,
            )  # fmt: skip
        assert done.returncode == 0, done.stderr
        shown = os.read(leader, 1 << 16).decode()
        os.close(leader)
        assert ("\x1b[32mred!<|im_end|>\x1b[0m" in shown) is has_colour
        assert ("[[red!<|im_end|>]]" in shown) is not has_colour
        assert "owned" not in shown and "\x1b[31m" not in shown


# -- stats ---------------------------------------------------------------------------------------------------------------


def test_stats_count_lines_roles_turns_tokens_and_repeats(inbox: InboxHome, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    system = {"messages": [{"role": "system", "content": "s"}, *json.loads(chat("q", "a"))["messages"]]}
    lines = [*good(30), good(1)[0], json.dumps(system), "{", "", chat("long", "word " * 2000)]
    file.write_text(jsonl(lines))
    done = weaver(inbox.paths.home, "data", "stats", str(file), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = decode_strict(DataStats, done.stdout.encode(), "stdout")
    assert found.lines is not None and (found.lines.dropped, found.lines.accepted, found.lines.rejected) == (34, 32, 2)
    assert (found.blank, found.repeated, found.over_length) == (1, 1, 1)
    assert found.codes == {"not_json": 1, "over_length": 1}
    assert found.roles == {"user": 32, "assistant": 32, "system": 1}
    assert found.turns is not None and (found.turns.min, found.turns.median, found.turns.max) == (2, 2, 2)
    assert found.tokens is not None and found.trained_share is not None
    assert 0 < found.trained_tokens < found.tokens.total
    assert found.trained_share == round(found.trained_tokens / found.tokens.total, 4)
    shown = weaver(inbox.paths.home, "data", "stats", str(file)).stdout
    for words in ("user 32", "median 2", "p99", "over_length 1", "accepted"):
        assert words in shown


def test_stats_of_a_file_that_would_be_rejected_are_given_with_the_verdict(inbox: InboxHome, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("")
    done = weaver(inbox.paths.home, "data", "stats", str(tmp_path / "a.jsonl"))
    assert done.returncode == 0
    assert "empty_file" in done.stdout


# -- convert -------------------------------------------------------------------------------------------------------------


def test_converted_file_gives_the_same_training_and_the_refused_lines_lie_beside_it(inbox: InboxHome, tmp_path: Path) -> None:
    out, bad = tmp_path / "out.jsonl", tmp_path / "bad.jsonl"
    source = CHECKOUT / "tests" / "data" / "gsm8k-300.jsonl"
    arguments = [str(source), "-o", str(out), "--quarantine", str(bad)]
    done = weaver(inbox.paths.home, "data", "convert", *arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = decode_strict(Converted, done.stdout.encode(), "stdout")
    assert found.written + found.refused == 300
    assert len(out.read_bytes().splitlines()) == found.written
    assert json.loads(out.read_bytes().splitlines()[0]).keys() == {"messages"}
    assert [decode(QuarantinedLine, line, "").code for line in bad.read_bytes().splitlines()] == ["over_length"] * found.refused
    again = decode_strict(DataCheck, weaver(inbox.paths.home, "data", "check", str(out), "--json").stdout.encode(), "").files[0]
    assert again.job.tokens == found.check.job.tokens
    assert again.codes == {}
    assert not list(tmp_path.glob(".convert-*"))


def test_metadata_and_tools_survive_a_conversion(inbox: InboxHome, tmp_path: Path) -> None:
    file, out, twice = tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "c.jsonl"
    tools = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    file.write_text(chat("q", "a", tools=tools, level=3, note="kept") + "\n")
    assert weaver(inbox.paths.home, "data", "convert", str(file), "-o", str(out)).returncode == 0
    line = json.loads(out.read_text())
    assert (line["tools"], line["level"], line["note"]) == (tools, 3, "kept")
    assert weaver(inbox.paths.home, "data", "convert", str(out), "-o", str(twice)).returncode == 0
    assert twice.read_bytes() == out.read_bytes()


def test_convert_overwrites_nothing(inbox: InboxHome, tmp_path: Path) -> None:
    file, there = tmp_path / "a.jsonl", tmp_path / "there.jsonl"
    file.write_text(jsonl(good(2)))
    there.write_text("mine")
    for targets in (["-o", str(there)], ["-o", str(tmp_path / "new.jsonl"), "--quarantine", str(there)]):
        done = weaver(inbox.paths.home, "data", "convert", str(file), *targets)
        assert (done.returncode, done.stdout) == (7, "")
    assert there.read_text() == "mine"
    new = str(tmp_path / "new.jsonl")
    assert weaver(inbox.paths.home, "data", "convert", str(file), "-o", new, "--quarantine", new).returncode == 2
    assert weaver(inbox.paths.home, "data", "convert", str(file), "-o", str(tmp_path / "no" / "new.jsonl")).returncode == 6
    assert not (tmp_path / "new.jsonl").exists()


@pytest.mark.parametrize(
    "line",
    [
        json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"}),
        "{",
        json.dumps({"prompt": "a", "completion": "b", "raw": True}),
    ],
)
def test_convert_of_what_cannot_be_said_as_messages_is_6_and_leaves_nothing(
    inbox: InboxHome, tmp_path: Path, line: str
) -> None:
    file, out = tmp_path / "a.jsonl", tmp_path / "out.jsonl"
    file.write_text(f"{line}\n")
    done = weaver(inbox.paths.home, "data", "convert", str(file), "-o", str(out))
    assert (done.returncode, done.stdout) == (6, "")
    assert done.stderr.startswith("weaver: ")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.jsonl"]


def test_nothing_is_left_in_the_temporary_folder(inbox: InboxHome, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (tmp_path / "a.jsonl").write_text(jsonl(good(2)))
    assert weaver(inbox.paths.home, "data", "check", str(tmp_path / "a.jsonl"), TMPDIR=str(scratch)).returncode == 0
    assert list(scratch.iterdir()) == []


def test_unknown_home_is_6(tmp_path: Path) -> None:
    done = weaver(Paths(tmp_path / "none").home, "data", "check", "a.jsonl")
    assert done.returncode == 6
