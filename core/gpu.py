"""What the GPUs of this machine say of themselves, by NVML (pynvml, imported only where the driver is loaded).

Place in the flow: core.overview shows it, the trainer decides by it how to share. Files read: /proc/driver/nvidia. Invariant: a
machine without the driver has no GPUs, which is no error; a figure that the driver does not give is None, never 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

DRIVER = Path("/proc/driver/nvidia/version")

T = TypeVar("T")


@dataclass(frozen=True)
class Gpu:
    """One GPU; memory in bytes, utilisation as a share from 0 to 1."""

    index: int
    name: str
    memory_total_bytes: int | None
    memory_used_bytes: int | None
    utilisation: float | None


def read_gpus(driver: Path = DRIVER) -> list[Gpu]:
    """Give the GPUs of this machine; none where the driver is not loaded or does not answer."""
    if not driver.exists():
        return []
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [_read(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def _read(nvml: Any, index: int) -> Gpu:
    def ask(question: Callable[[], T]) -> T | None:
        try:
            return question()
        except nvml.NVMLError:
            return None

    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    rates = ask(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    return Gpu(
        index=index,
        name=str(ask(lambda: nvml.nvmlDeviceGetName(handle)) or "unknown GPU"),
        memory_total_bytes=int(memory.total) if memory else None,
        memory_used_bytes=int(memory.used) if memory else None,
        utilisation=rates.gpu / 100 if rates else None,
    )
