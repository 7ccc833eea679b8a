"""The environment that every program is started with: this home, the threads of its arithmetic, no way to systemd."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from core.config import SharingConfig
from core.gpu import DRIVER
from core.paths import Paths
from weaver.notifier import VARIABLES


def program_environment(
    environ: Mapping[str, str], paths: Paths, sharing: SharingConfig, driver: Path = DRIVER
) -> dict[str, str]:
    """Give the environment for a child.

    OMP_NUM_THREADS: as configured; "auto" is 1 on a host without a GPU, because two spinning OpenMP pools on the same cores
    slow training to a few per cent, and is left alone where there is a GPU.
    """
    child = {name: value for name, value in environ.items() if name not in VARIABLES} | {"WEAVER_HOME": str(paths.home)}
    if sharing.threads != "auto":
        child["OMP_NUM_THREADS"] = str(sharing.threads)
    elif not driver.exists():
        child["OMP_NUM_THREADS"] = "1"
    return child
