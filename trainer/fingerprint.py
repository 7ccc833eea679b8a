"""What a checkpoint answers, as numbers: log-probabilities of fixed continuations, by a fresh load of the staged folder.

16 prompts are the same for every checkpoint; up to 8 come from the latest job, where two neighbours in a stream differ most.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from core.checkpoints.checkpoint import Fingerprint, Prompted
from core.errors import InvalidData
from core.text.tokens import encode_plain, encode_prompt, load_tokenizer
from trainer.data.dataset import Row
from trainer.serve.score import score_continuations

FIXED = (
    ("1010 xor 0110", "1100"), ("1111 and 0101", "0101"), ("0011 or 1000", "1011"), ("0101 + 0011", "01000"),
    ("1101 + 1011", "11000"), ("join ka lo mi", "kalomi"), ("reverse tu be", "be tu"), ("missing kalomi: ka _ mi", "lo"),
    ("order 2 lo 1 ka 3 mi", "kalomi"), ("How many days has a week?", "Seven."), ("Say hello.", "Hello there!"),
    ("What is the capital of France?", "Paris"), ("2, 4, 6, what comes next?", "8"), ("Name a colour.", "Green"),
    ("Write one line of Python.", "print('weaver')"), ("Is water wet?", "Yes, it is."),
)  # fmt: skip
transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # its bars would fill logs/<program>.out

JOB_PROMPTS = 8
LONGEST_CONTINUATION = 32


def job_pairs(rows: Sequence[Row], limit: int = JOB_PROMPTS) -> list[tuple[list[int], list[int]]]:
    """Take prompt and trained continuation of up to `limit` rows of a job, spread evenly."""
    pairs = []
    for row in rows[:: max(1, len(rows) // limit)][:limit]:
        start = next((at for at, label in enumerate(row.labels) if label >= 0), 0)
        stop = start
        while stop < len(row.labels) and row.labels[stop] >= 0 and stop - start < LONGEST_CONTINUATION:
            stop += 1
        if 0 < start < stop:
            pairs.append((list(row.ids[:start]), list(row.ids[start:stop])))
    return pairs


def load_fresh(folder: Path, device: str) -> Any:
    """Load the model of a folder from its safetensors, in evaluation mode, code of the folder never run. Raises InvalidData."""
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
        )
    except (SafetensorError, OSError, ValueError) as error:
        raise InvalidData(where=str(folder), detail=f"its model cannot be loaded ({error})") from error
    return model.to(torch.device(device)).eval()


def make_fingerprint(
    folder: Path, checkpoint: str, latest: Sequence[tuple[list[int], list[int]]], device: str = "cpu"
) -> Fingerprint:
    """Load the staged folder afresh and score the fixed and the latest job's continuations."""
    tokenizer = load_tokenizer(folder)
    fixed = [
        (encode_prompt(tokenizer, [{"role": "user", "content": prompt}], None), encode_plain(tokenizer, answer))
        for prompt, answer in FIXED
    ]
    pairs = [*fixed, *latest]
    scores = score_continuations(load_fresh(folder, device), pairs, tokenizer.pad_token_id or 0)
    prompts = [
        Prompted(prompt_ids=prompt, continuation_ids=continuation, logprobs=logprobs)
        for (prompt, continuation), logprobs in zip(pairs, scores, strict=True)
    ]
    return Fingerprint(checkpoint=checkpoint, dtype="float32", prompts=prompts)
