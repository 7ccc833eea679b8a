"""What may not change once a model exists, asked by a sidecar; the configuration's side is in test_in_force.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.jobs.drop import read_sidecar
from core.jobs.formats import DropRefused
from core.locked import locked_in_sidecar


@pytest.mark.parametrize(
    "body", ['"base": "/other"', '"training": {"max_length": 4096}', '"training": {"epochs": 1, "vocab_size": 1}']
)
def test_sidecar_that_sets_what_is_locked_is_refused_with_the_reason(tmp_path: Path, body: str) -> None:
    (tmp_path / "sidecar.json").write_text(f'{{"schema": "weaver.sidecar/1", {body}}}')
    with pytest.raises(DropRefused, match=r"no sidecar sets .*(base|max_length|vocab_size).*: locked with the model"):
        read_sidecar(tmp_path, {"tiny": None})


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'"base"', b'{"training": 5}', b'{"columns": {"prompt": "base"}}'])
def test_sidecar_without_locked_keys_names_none(data: bytes) -> None:
    assert locked_in_sidecar(data) == []
