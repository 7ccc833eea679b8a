"""How fast intake validates: stage QUICK, stage STANDARD, and a whole drop through a running watch_inbox.

100 MB of chat JSONL are made in a temporary folder from tests/data/gsm8k-300.jsonl (seed printed): conversations of one and of
two questions, with and without system message, half of the lines written with all but ASCII escaped, as json.dumps does.

- quick_mb_s: all checks of stage QUICK on every line by core/jobs/ahead.read_block, as watch_inbox and `weaver data check` read
  a drop, and core/jobs/quick.check for the lines that this leaves over, with the frozen suites of config/ and the tiny
  tokenizer. Beside it, in the same run and alternating: a plain json.loads loop, and loops over orjson and pydantic that make
  the same checks in Python (but for keys that appear twice, which neither sees).
- standard_*: tokens per second of core/jobs/validate.check_plain, in the batches of intake: canonical form, rendering, encoding
  and the proof that the trained tokens read as written. Beside it, on the same rendered texts: `tokenizers` alone, encode_batch
  and the quicker encode_batch_fast. `tiny` is the tokenizer of the embedded model, `bpe` a byte-level BPE with a vocabulary of
  32,768 trained here on the texts of this repository. One thread.
- drop_mb_s: from the rename into the inbox of a running factory to the job folder, and the memory of watch_inbox meanwhile.
  (The time from drop to receipt of a small file is in latency.py.)

Medians; all values are in the results file. Needs orjson: pip install -e '.[bench]'.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import statistics
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from factory import ROOT, factory, publish, wait_for
from footprint import pids, pss_mb

from core.evals.line_checks import grade
from core.evals.suite import load_frozen_prompts
from core.jobs.ahead import BATCH, read_block
from core.jobs.plain import head_of
from core.jobs.quick import Setting, check, plain_lines
from core.jobs.validate import check_plain
from core.text.digest import problem_digest
from core.text.tokens import TEMPLATE_OPTIONS, load_tokenizer
from trainer.tiny.tokenizer import CHAT_TEMPLATE, SPECIALS, save_tokenizer

SEED = 20261121
RUNS = 5
SYSTEM = "You are a careful teacher. Show each step, then give the answer after four number signs."
LONGEST = 1 << 24
VOCABULARY = 32768
LINES_ENCODED = 4000


def make_corpus(path: Path, size: int) -> None:
    """Write `size` bytes of chat lines."""
    rng = random.Random(SEED)
    print(f"intake: {size / 1e6:.0f} MB of chat lines from seed {SEED}")
    rows = [json.loads(line) for line in (ROOT / "tests/data/gsm8k-300.jsonl").read_text(encoding="utf-8").splitlines()]
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < size:
            for _ in range(1000):
                messages = [{"role": "system", "content": SYSTEM}] if rng.random() < 0.2 else []
                for row in rng.sample(rows, 2 if rng.random() < 0.3 else 1):
                    messages += [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}]
                file.write(json.dumps({"messages": messages}, ensure_ascii=rng.random() < 0.5) + "\n")


def setting_with(tokenizer: Any) -> Setting:
    """Give the checks of a chat file, the frozen suites of this repository included."""
    prompts = load_frozen_prompts(ROOT / "config/suites")
    return Setting(
        spec="chat_sft_v1", tokenizer=tokenizer, max_length=1 << 20, grade=grade, eval_digests=frozenset(prompts),
        eval_heads=frozenset(map(head_of, prompts.values())),
    )  # fmt: skip


def quick(path: Path, setting: Setting) -> int:
    """Take every line through stage QUICK as intake does; give the number of those accepted."""
    by = plain_lines(setting)
    assert by is not None
    accepted = offset = 0
    with path.open("rb") as file:
        while block := read_block(file, offset, by, LONGEST):
            for at in (~block.plain).nonzero()[0].tolist():
                check(block.line(at, at + 1, LONGEST).data, setting)  # raises for a line that is refused
            accepted += len(block.ends)
            offset = block.begin(len(block.ends))
    return accepted


def plain_loop(path: Path) -> int:
    """Parse every line with json.loads and look at nothing."""
    lines = 0
    with path.open("rb") as file:
        for line in file:
            json.loads(line)
            lines += 1
    return lines


ROLES = frozenset(["system", "developer", "user", "assistant", "tool"])


class SameChecks:
    """The checks of stage QUICK on plain messages, for peers that parse only."""

    def __init__(self, setting: Setting) -> None:
        texts = {str(token) for token in setting.tokenizer.all_special_tokens} | {"\U000f0000", "\U000f0001"}
        self._control = re.compile("|".join(map(re.escape, sorted(texts))))
        self._digests = setting.eval_digests

    def __call__(self, messages: Iterable[tuple[str, str]]) -> None:
        """Refuse a conversation by ValueError."""
        before, asked, is_answered = "system", "", False
        for role, content in messages:
            text = unicodedata.normalize("NFC", content).strip()
            if role not in ROLES or not text or self._control.search(text):
                raise ValueError(role)
            if role in ("assistant", "tool") and before in ("system", "developer"):
                raise ValueError("order")
            if role == "user":
                asked = text
            is_answered |= role == "assistant"
            before = role
        if not is_answered or problem_digest(asked) in self._digests:
            raise ValueError("nothing to train, or a question of a suite")


def orjson_loop(path: Path, checks: SameChecks) -> int:
    """Parse every line with orjson, then check it."""
    try:
        import orjson
    except ImportError as error:
        raise SystemExit(
            "orjson is not installed; pip install -e '.[bench]' installs what this benchmark compares with"
        ) from error
    lines = 0
    with path.open("rb") as file:
        for line in file:
            value = orjson.loads(line)
            checks((message["role"], message["content"]) for message in value["messages"])
            lines += 1
    return lines


def pydantic_loop(path: Path, checks: SameChecks) -> int:
    """Validate every line with a pydantic model, then check what the model cannot."""
    from pydantic import BaseModel, ConfigDict

    class Message(BaseModel):
        model_config = ConfigDict(strict=True, extra="forbid")
        role: Literal["system", "developer", "user", "assistant", "tool"]
        content: str

    class Chat(BaseModel):
        model_config = ConfigDict(strict=True, extra="forbid")
        messages: list[Message]

    lines = 0
    with path.open("rb") as file:
        for line in file:
            chat = Chat.model_validate_json(line)
            checks((message.role, message.content) for message in chat.messages)
            lines += 1
    return lines


def alternate(work: dict[str, Callable[[], Any]], runs: int) -> dict[str, list[float]]:
    """Give the seconds of each piece of work in `runs` rounds, in every round one after the other."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(runs):
        for name, do in work.items():
            began = time.perf_counter()
            do()
            taken[name].append(time.perf_counter() - began)
    return taken


def measure_quick(path: Path, setting: Setting, runs: int) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Measure stage QUICK and its peers over one file."""
    checks = SameChecks(setting)
    work = {
        "quick": lambda: quick(path, setting), "json_loads": lambda: plain_loop(path),
        "orjson": lambda: orjson_loop(path, checks), "pydantic": lambda: pydantic_loop(path, checks),
    }  # fmt: skip
    counts = {name: do() for name, do in work.items()}
    if len(set(counts.values())) != 1:
        raise SystemExit(f"not all accept the same lines: {counts}")
    taken = alternate(work, runs)
    size = path.stat().st_size / 1e6
    figures = {f"{name}_mb_s": size / statistics.median(values) for name, values in taken.items()}
    for name in ("json_loads", "orjson", "pydantic"):
        figures[f"quick_to_{name}"] = figures["quick_mb_s"] / figures[f"{name}_mb_s"]
    return figures, taken


def train_bpe() -> Any:
    """Train a byte-level BPE of VOCABULARY entries on the texts of this repository, with the template of the tiny model."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    folders = ("core", "daemons", "trainer", "weaver", "tests", "config")
    files = [
        str(file)
        for folder in folders
        for file in sorted((ROOT / folder).rglob("*"))
        if file.suffix in (".py", ".md", ".jsonl")
    ]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train(
        files,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            min_frequency=1,
            special_tokens=list(SPECIALS),
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=SPECIALS[2], extra_special_tokens=list(SPECIALS))
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def in_batches(lines: list[bytes]) -> list[list[bytes]]:
    """Cut lines into batches as intake does."""
    batches: list[list[bytes]] = [[]]
    for line in lines:
        if sum(map(len, batches[-1])) >= BATCH:
            batches.append([])
        batches[-1].append(line)
    return batches


def measure_standard(path: Path, name: str, tokenizer: Any, runs: int) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Measure stage STANDARD against `tokenizers` alone on the same conversations."""
    setting = setting_with(tokenizer)
    with path.open("rb") as file:
        lines = [next(file).rstrip(b"\n") for _ in range(LINES_ENCODED)]
    batches = in_batches(lines)
    talks = [[json.loads(line)["messages"] for line in batch] for batch in batches]
    texts = [tokenizer.apply_chat_template(batch, tokenize=False, **TEMPLATE_OPTIONS) for batch in talks]
    backend = tokenizer.backend_tokenizer
    tokens = sum(len(row.ids) for batch in texts for row in backend.encode_batch(batch, add_special_tokens=False))
    found = [verdict for batch in batches for verdict in check_plain(batch, setting)]
    if sum(getattr(verdict, "tokens", 0) for verdict in found) != tokens:
        raise SystemExit(f"stage STANDARD does not count the {tokens} tokens that tokenizers alone gives")
    taken = alternate(
        {
            f"standard_{name}": lambda: [check_plain(batch, setting) for batch in batches],
            f"tokenizers_{name}": lambda: [backend.encode_batch(batch, add_special_tokens=False) for batch in texts],
            f"tokenizers_fast_{name}": lambda: [backend.encode_batch_fast(batch, add_special_tokens=False) for batch in texts],
        },
        runs,
    )
    figures = {f"{key}_tokens_s": tokens / statistics.median(values) for key, values in taken.items()}
    ours = figures[f"standard_{name}_tokens_s"]
    figures[f"standard_{name}_to_tokenizers"] = ours / figures[f"tokenizers_{name}_tokens_s"]
    figures[f"standard_{name}_to_tokenizers_fast"] = ours / figures[f"tokenizers_fast_{name}_tokens_s"]
    figures[f"standard_{name}_lines_s"] = len(lines) / statistics.median(taken[f"standard_{name}"])
    return figures, taken


def measure_drop(path: Path, size: int) -> dict[str, float]:
    """Drop `size` bytes of the file into a running factory; give MB/s up to its job, and the most memory of watch_inbox."""
    with factory(WEAVER__GENERATION__ENABLED="false") as made, path.open("rb") as file:
        made.weaver("up")
        made.drop("first.jsonl", [json.loads(next(file)) for _ in range(10)])  # has the base built and the tokenizer loaded
        wait_for("the first job", 180, lambda: made.find("-first"))
        wait_for(
            "the end of the first job", 300, lambda: any(job.name.endswith("-first") for job in made.jobs("completed")), 0.2
        )
        pid = pids(made)["watch_inbox"]
        hidden = made.home / "queue/inbox/.large.jsonl.writing"
        data = file.read(size)
        hidden.write_bytes(data[: data.rfind(b"\n") + 1])
        memory = []

        def found() -> bool:
            memory.append(pss_mb(pid))
            return made.find("-large") is not None

        began = time.monotonic()
        hidden.rename(hidden.with_name("large.jsonl"))
        wait_for("the job of the large drop", 600, found, 0.1)
        return {"drop_mb_s": size / 1e6 / (time.monotonic() - began), "pss_watch_inbox_mb": max(memory)}


def main() -> None:
    """Measure all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=100, help="size of the file for stage QUICK")
    parser.add_argument("--drop-mb", type=int, default=20, help="size of the drop")
    parser.add_argument("--runs", type=int, default=RUNS)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="weaver-bench-"))
    try:
        path = folder / "chat.jsonl"
        make_corpus(path, args.mb * 10**6)
        (folder / "tiny").mkdir()
        save_tokenizer(folder / "tiny")
        tiny = load_tokenizer(folder / "tiny")
        figures, taken = measure_quick(path, setting_with(tiny), args.runs)
        for name, tokenizer in (("tiny", tiny), ("bpe", train_bpe())):
            more, seconds = measure_standard(path, name, tokenizer, args.runs)
            figures |= more
            taken |= seconds
        figures |= measure_drop(path, args.drop_mb * 10**6)
    finally:
        shutil.rmtree(folder)
    publish("intake", figures, seconds=taken, seed=SEED)


if __name__ == "__main__":
    main()
