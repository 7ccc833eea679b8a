"""How long the trainer may be silent in each phase before the Weaver takes it for stuck: the promise of each heartbeat.

Place in the flow: engine and callbacks ask before they beat. Reads sizes of files only. Invariant: who is slow but moves is
never taken for stuck. Before anything was measured, the budget follows from the amount of work, at a pace below that of any
machine that is of use; from the first step of a run on it is learnt from the run's own steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

LEAST_S = 180.0  # for what happens once: imports, the first call of a kernel, a cold disk
LEAST_STEP_S = 30.0
STEPS = 20  # a step may take so many times as long as the longest so far
BYTES_PER_S = 10e6
DATA_BYTES_PER_S = 50e3
FLOPS_PER_S = {"cpu": 1e9}
GPU_FLOPS_PER_S = 1e12
STATE_BYTES = 16  # of one parameter in a checkpoint and its state: weights, average, two moments, four bytes each


def load_s(model: Path) -> float:
    """Give the budget for loading a model: it may be as large as the largest folder under models/<model>/."""
    sizes = [_size(folder) for folder in model.iterdir()] if model.is_dir() else []
    return max(LEAST_S, 4 * max(sizes, default=0) / BYTES_PER_S)  # the weights, and a state three times as large


def _size(folder: Path) -> int:
    try:
        return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    except (FileNotFoundError, NotADirectoryError):  # a file, or pruned at this moment
        return 0


def tokenise_s(data: Path) -> float:
    """Give the budget for reading, tokenising and checking a job's lines."""
    return max(LEAST_S, data.stat().st_size / DATA_BYTES_PER_S)


def save_s(parameters: int) -> float:
    """Give the budget for writing, hashing and loading a checkpoint again."""
    return max(LEAST_S, STATE_BYTES * parameters / BYTES_PER_S)


def first_step_s(parameters: int, tokens: Sequence[int], device: str) -> float:
    """Give the budget for a first optimizer step, the largest of those with so many tokens each.

    6 operations for each parameter and token: Kaplan et al. 2020, section 2.1.
    """
    return max(LEAST_S, 6.0 * parameters * max(tokens, default=0) / FLOPS_PER_S.get(device, GPU_FLOPS_PER_S))


def step_s(longest_s: float) -> float:
    """Give the budget for a further step, by the longest so far."""
    return max(LEAST_STEP_S, STEPS * longest_s)
