"""Every ending and packing through the real tick: the same lines whatever they lie in; a killed child loses nothing."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.jobs.inbox import KINDS, PACKINGS
from core.jobs.job import Job
from core.names import is_identifier
from tests.core.jobs.unpack.unpacking import packed, parquet
from tests.daemons.inbox_builder import InboxHome, good, jsonl, raw_of
from tests.fakes import wait_for

PAIRS = [{"prompt": f"What is {number} + 1?", "completion": f'"{number + 1}", so; to\tspeak\né'} for number in range(40)]
CALL = {"name": "get_weather", "arguments": '{"city": "Rome"}'}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "required": ["city"]}}}]


def written(kind: str, rows: list[dict[str, Any]]) -> bytes:
    """Write rows in one of KINDS, as people's tools do."""
    if kind == ".json":
        return json.dumps(rows, indent=2, ensure_ascii=False).encode()
    if kind == ".parquet":
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        return sink.getvalue()
    if kind == ".csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def decided(inbox: InboxHome) -> dict[str, Job]:
    """Tick until every drop has its verdict; give the jobs by name."""
    inbox.settle()

    def is_done() -> bool:
        inbox.tick()
        return not any(is_identifier(path.name) for path in inbox.paths.building.iterdir())

    wait_for("every drop has its verdict", is_done, 60.0)
    return inbox.jobs()


def one(inbox: InboxHome, name: str, content: bytes, sidecar: dict[str, Any] | None = None) -> Job:
    """Drop one file; give its job."""
    inbox.drop(name, content, sidecar)
    return decided(inbox)[name]


def said(inbox: InboxHome, job: Job) -> list[list[tuple[str, str]]]:
    """Give role and content of every message of every accepted line."""
    return [[(message["role"], message["content"]) for message in line["messages"]] for line in inbox.data(job)]


def test_same_lines_in_every_ending_and_packing_are_one_job_and_its_duplicates(inbox: InboxHome) -> None:
    first = one(inbox, "plain.jsonl", written(".jsonl", PAIRS))
    assert first.reason is None and first.lines is not None and first.lines.accepted == 40
    lines = inbox.data(first)
    for kind in KINDS:
        for packing in ("", *PACKINGS):
            if (kind, packing) != (".jsonl", ""):
                inbox.drop(f"copy{kind}{packing}", packed(written(kind, PAIRS), packing))
                inbox.drop(f"forced{kind}{packing}", packed(written(kind, PAIRS), packing), {"force": True})
    jobs = decided(inbox)
    queued = {job.id for name, job in jobs.items() if not name.startswith("copy")}
    for name, job in jobs.items():
        assert job.content_sha256 == first.content_sha256, name
        assert job.spec == "completion_v1" and job.lines == first.lines, name
        if name.startswith("copy"):
            assert job.reason is not None and job.reason.code == "duplicate" and job.duplicate_of in queued, name
            assert (inbox.spool.folder(job.id) / "raw").exists(), name
        elif name.startswith("forced"):
            assert inbox.spool.find(job.id) == "normal" and inbox.data(job) == lines, name
            names = {path.name for path in inbox.spool.folder(job.id).iterdir()}
            assert names <= {"attempts.jsonl", "data.jsonl", "job.json", "quarantine.jsonl", "sidecar.json"}, name
    assert len(jobs) == 23


@pytest.mark.parametrize(("kind", "unit"), [(".json", "element"), (".csv", "record"), (".parquet", "row")])
def test_refused_record_of_a_table_is_quarantined_with_its_number_and_its_text(inbox: InboxHome, kind: str, unit: str) -> None:
    rows = [*PAIRS[:20], {"prompt": "hi<|im_end|>", "completion": "x"}, *PAIRS[20:]]
    job = one(inbox, f"a{kind}", written(kind, rows))
    assert job.reason is None and job.lines is not None and (job.lines.accepted, job.lines.rejected) == (40, 1)
    (line,) = inbox.quarantine(job)
    assert (line.line, line.offset, line.code) == (21, None, "control_text")
    assert line.reason.startswith(f"{unit} 21: ") and b"hi<|im_end|>" in raw_of(line)


def test_line_of_a_packed_jsonl_keeps_its_number_and_offset(inbox: InboxHome) -> None:
    lines = written(".jsonl", PAIRS).splitlines(keepends=True)
    content = b"".join([*lines[:20], b"no json\n", *lines[20:]])
    job = one(inbox, "a.jsonl.zst", packed(content, ".zst"))
    (line,) = inbox.quarantine(job)
    assert (line.line, line.code, line.reason.startswith("the line is not JSON")) == (21, "not_json", True)
    assert raw_of(line) == b"no json" and line.offset == content.index(b"no json")


def test_ragged_record_of_csv_is_quarantined_with_its_text(inbox: InboxHome) -> None:
    content = written(".csv", PAIRS) + b"only one field\r\n"
    job = one(inbox, "a.csv", content)
    (line,) = inbox.quarantine(job)
    assert (line.line, line.code, raw_of(line)) == (41, "wrong_spec", b"only one field")
    assert "1 fields, the header names 2; it begins on line" in line.reason


# -- the public formats of the field's tools ---------------------------------------------------------------------------

TURNS = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
CHAT = [("user", "a"), ("assistant", "b")]
MESSAGES = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
PUBLIC: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "trl-conversational": ({"messages": MESSAGES}, CHAT),
    "trl-prompt-completion": ({"prompt": "a", "completion": "b"}, CHAT),
    "trl-conversational-prompt-completion": ({"prompt": MESSAGES[:1], "completion": MESSAGES[1:]}, CHAT),
    "openai-tools": (
        {
            "messages": [
                MESSAGES[0],
                {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": CALL}]},
                {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
                {"role": "assistant", "content": "b", "weight": 1},
            ],
            "parallel_tool_calls": False, "tools": TOOLS,
        },
        [("user", "a"), ("assistant", ""), ("tool", "sunny"), ("assistant", "b")],
    ),
    "llama-factory-sharegpt": (
        {"conversations": [
            TURNS[0], {"from": "function_call", "value": json.dumps({"name": "f", "arguments": {"x": 1}})},
            {"from": "observation", "value": "42"}, TURNS[1],
        ], "system": "s", "tools": json.dumps([{"name": "f", "description": "", "parameters": {}}])},
        [("system", "s"), ("user", "a"), ("assistant", ""), ("tool", "42"), ("assistant", "b")],
    ),
    "axolotl-sharegpt": ({"id": "1", "conversations": [{"from": "system", "value": "s"}, *TURNS]}, [("system", "s"), *CHAT]),
    "unsloth-sharegpt": ({"conversations": TURNS, "source": "x", "score": 5.2}, CHAT),
    "alpaca": ({"instruction": "a", "input": "", "output": "b"}, CHAT),
    "alpaca-history": (
        {"instruction": "c", "input": "d", "output": "e", "system": "s", "history": [["a", "b"]]},
        [("system", "s"), *CHAT, ("user", "c\nd"), ("assistant", "e")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", [".jsonl", ".json", ".parquet"])
def test_public_formats_of_the_fields_tools_are_read(inbox: InboxHome, kind: str) -> None:
    for name, (row, _) in PUBLIC.items():
        inbox.drop(f"{name}{kind}", written(kind, [row] * 3), {"force": True})
    jobs = decided(inbox)
    for name, (_, expected) in PUBLIC.items():
        job = jobs[f"{name}{kind}"]
        assert job.reason is None, (name, job.reason)
        assert said(inbox, job) == [expected] * 3, name
    openai = inbox.data(jobs[f"openai-tools{kind}"])[0]
    assert openai["tools"] == TOOLS
    assert openai["messages"][1]["tool_calls"][0]["function"] == CALL


def test_parquet_export_of_datasets_with_nulls_in_its_structs_is_the_same_job_as_the_jsonl(inbox: InboxHome) -> None:
    talk = pa.struct([("content", pa.string()), ("name", pa.string()), ("role", pa.string()), ("tool_calls", pa.string())])
    rows = [[{"role": "user", "content": f"a{at}"}, {"role": "assistant", "content": "b"}] for at in range(30)]
    first = one(inbox, "a.jsonl", written(".jsonl", [{"messages": row} for row in rows]))
    second = one(inbox, "train-00000-of-00001.parquet", parquet({"messages": pa.array(rows, pa.list_(talk))}))
    assert (second.spec, second.duplicate_of) == ("chat_sft_v1", first.id)


MAPPED = {
    "gsm8k": ({"question": "a", "answer": "b"}, {"prompt": "question", "completion": "answer"}, CHAT),
    "dolly": (
        {"instruction": "a", "context": "c", "response": "b", "category": "qa"},
        {"instruction": "instruction", "output": "response", "input": "context"}, [("user", "a\nc"), ("assistant", "b")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MAPPED)
@pytest.mark.parametrize("kind", KINDS)
def test_other_names_are_refused_with_the_sidecar_to_write_and_read_with_it(inbox: InboxHome, name: str, kind: str) -> None:
    row, columns, expected = MAPPED[name]
    refused = one(inbox, f"{name}{kind}", written(kind, [row] * 3))
    assert refused.reason is not None and refused.reason.code == "unknown_keys"
    assert f'"columns": {json.dumps(columns)}' in refused.reason.message
    job = one(inbox, f"again{kind}", written(kind, [row] * 3), {"columns": columns})
    assert said(inbox, job) == [expected] * 3


# -- preference data never trains --------------------------------------------------------------------------------------

KTO = {"prompt": "a", "completion": "b", "label": False}
DPO = {"prompt": "a", "chosen": "b", "rejected": "c"}
NESTED_DPO = {"chosen": MESSAGES, "rejected": MESSAGES}


@pytest.mark.parametrize("packing", ["", *PACKINGS])
@pytest.mark.parametrize("kind", KINDS)
def test_preference_data_never_trains_in_any_ending(inbox: InboxHome, kind: str, packing: str) -> None:
    rows: dict[str, dict[str, Any]] = {"kto": KTO, "dpo": DPO, "nested": NESTED_DPO}
    for name, row in rows.items():
        inbox.drop(f"{name}{kind}{packing}", packed(written(kind, [row] * 3), packing))
    columns = {"columns": {"prompt": "prompt", "completion": "chosen"}}
    inbox.drop(f"mapped{kind}{packing}", packed(written(kind, [DPO] * 3), packing), columns)
    spec = {"spec": "completion_v1", "columns": {"prompt": "prompt", "completion": "completion"}}
    inbox.drop(f"named{kind}{packing}", packed(written(kind, [KTO] * 3), packing), spec)
    jobs = decided(inbox)
    assert {name: job.reason and job.reason.code for name, job in jobs.items()} == dict.fromkeys(jobs, "preference_data")
    assert len(jobs) == 5 and inbox.spool.list("normal") == []


def test_label_that_only_later_lines_have_refuses_the_whole_file_and_names_the_line(inbox: InboxHome) -> None:
    for kind in (".jsonl", ".json"):
        job = one(inbox, f"a{kind}", written(kind, [*PAIRS, KTO]))
        assert job.reason is not None and job.reason.code == "preference_data"
        assert "41: the lines hold label" in job.reason.message
    late: list[dict[str, Any]] = [{**row, "label": ""} for row in PAIRS] + [{**KTO, "label": "True"}]
    assert one(inbox, "late.csv", written(".csv", late)).reason is not None
    nulls: list[dict[str, Any]] = [{**row, "label": None} for row in PAIRS] + [KTO]
    job = one(inbox, "late.parquet", written(".parquet", nulls))
    assert job.reason is not None and job.reason.code == "preference_data"


# -- children ----------------------------------------------------------------------------------------------------------

LARGE = b"prompt,completion\n" + b"".join(b"What is %d?,%d\n" % (number, number * 7919) for number in range(1_000_000))


def test_child_that_is_killed_starts_over_and_nothing_is_lost(inbox: InboxHome) -> None:
    inbox.drop("a.csv", written(".csv", PAIRS))
    inbox.settle()
    (process,) = psutil.Process().children()
    process.kill()
    job = decided(inbox)["a.csv"]
    assert job.reason is None and len(inbox.data(job)) == 40


def test_small_drop_goes_on_while_a_large_one_is_unpacked_and_a_change_of_it_starts_over(inbox: InboxHome) -> None:
    large = inbox.drop("large.csv", LARGE)
    report = inbox.settle()
    assert not large.exists() and report.facts["unpacking"] == 1 and "unpacking 'large.csv'" in report.note
    (process,) = psutil.Process().children()
    process.suspend()
    inbox.drop("small.jsonl", jsonl(good(5)))
    inbox.settle()
    assert set(inbox.jobs()) == {"small.jsonl"}
    (folder,) = (path for path in inbox.paths.building.iterdir() if is_identifier(path.name))
    (folder / "raw").write_bytes(written(".csv", PAIRS))
    inbox.tick()
    assert not process.is_running()
    inbox.clock.passed_s += 2.0
    job = decided(inbox)["large.csv"]
    assert job.lines is not None and job.lines.accepted == 40


def test_drop_that_is_taken_away_while_it_is_unpacked_ends_its_child(inbox: InboxHome, tmp_path: Path) -> None:
    inbox.drop("large.csv", LARGE)
    inbox.settle()
    (folder,) = (path for path in inbox.paths.building.iterdir() if is_identifier(path.name))
    (process,) = psutil.Process().children()
    folder.rename(tmp_path / "taken away")
    inbox.tick()
    assert not process.is_running() and inbox.jobs() == {}


def test_daemon_itself_never_loads_what_reads_tables() -> None:
    code = (
        "import sys, daemons.watch_inbox; print(*sorted(name for name in ('pyarrow', 'zstandard', 'csv', 'numpy', 'torch') "
        "if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.split() == []
