"""How many threads a child may take."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.config import SharingConfig
from core.paths import Paths
from weaver.environment import program_environment


@pytest.mark.parametrize(
    ("threads", "has_gpu", "given", "expected"),
    [
        ("auto", False, None, "1"),
        ("auto", False, "8", "1"),
        ("auto", True, None, None),
        ("auto", True, "8", "8"),
        (3, False, "8", "3"),
        (3, True, None, "3"),
    ],
)
def test_threads_follow_configuration_and_host(
    paths: Paths, tmp_path: Path, threads: int | str, has_gpu: bool, given: str | None, expected: str | None
) -> None:
    driver = tmp_path / "driver"
    if has_gpu:
        driver.touch()
    environ = {"A": "b"} if given is None else {"A": "b", "OMP_NUM_THREADS": given}
    child = program_environment(environ, paths, SharingConfig(threads=threads), driver)  # type: ignore[arg-type]
    assert child.get("OMP_NUM_THREADS") == expected
    assert (child["A"], child["WEAVER_HOME"]) == ("b", str(paths.home))
