"""The ledger follows the disk: manifests, completeness, history, names."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from core.checkpoints.checkpoint import Head
from core.checkpoints.ledger import MANIFEST, SIDECAR, Ledger, is_complete, manifest_id, read_manifest, verify, write_manifest
from core.errors import InvalidData, ManifestMismatch, NotFound
from core.paths import Paths
from tests.core.checkpoints.checkpoint_builder import make_checkpoint, make_state


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path)


def head(ledger: Ledger, name: str) -> None:
    ledger.write_head("tiny", Head(checkpoint=name, reason="test", at="2026-11-20T21:30:00.000Z"))


def history(paths: Paths) -> list[str]:
    names = [make_checkpoint(paths, 0, None)]
    for step in (100, 20, 3000):
        names.append(make_checkpoint(paths, step, names[-1]))
    return names


def test_manifest_lists_every_file_but_itself_and_its_hash_is_the_weights_id(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"two")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".hidden").write_bytes(b"one")
    weights_id = write_manifest(tmp_path)
    data = (tmp_path / "MANIFEST.sha256").read_bytes()
    one, two = hashlib.sha256(b"one").hexdigest(), hashlib.sha256(b"two").hexdigest()
    assert data == f"{one}  a/.hidden\n{two}  b\n".encode()
    assert weights_id == hashlib.sha256(data).hexdigest()[:16] == manifest_id(tmp_path) == verify(tmp_path)
    assert read_manifest(tmp_path) == {"a/.hidden": one, "b": two}


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda folder: (folder / "model.safetensors").write_bytes(b"weights of another"), "model.safetensors hashes"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda folder: (folder / "extra.bin").write_bytes(b"x"), "extra.bin is not in the manifest"),
        (lambda folder: (folder / "MANIFEST.sha256").unlink(), "there is no MANIFEST"),
        (lambda folder: (folder / "MANIFEST.sha256").write_bytes(b"0123  model.safetensors\n"), "is not '<64 hex>"),
        (lambda folder: (folder / "MANIFEST.sha256").write_bytes(b"a" * 64 + b"  ../x\n"), "is not '<64 hex>"),
    ],
)
def test_damaged_checkpoint_fails_verification_and_names_the_damage(paths: Paths, damage, named: str) -> None:  # type: ignore[no-untyped-def]
    folder = paths.model("tiny").checkpoint(make_checkpoint(paths, 0, None))
    verify(folder)
    damage(folder)
    with pytest.raises(ManifestMismatch, match=named):
        verify(folder)


def test_symlink_in_a_staged_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to("/etc/passwd")
    with pytest.raises(InvalidData, match="only regular files"):
        write_manifest(tmp_path)


def test_checkpoints_are_sorted_by_integer_step(paths: Paths) -> None:
    history(paths)
    assert [record.step for record in Ledger(paths).checkpoints("tiny")] == [0, 20, 100, 3000]


@pytest.mark.parametrize("file", ["model.safetensors", "MANIFEST.sha256", SIDECAR])
def test_torn_checkpoint_is_not_listed(paths: Paths, file: str) -> None:
    names = history(paths)
    ledger = Ledger(paths)
    assert ledger.is_complete("tiny", names[1])
    (paths.model("tiny").checkpoint(names[1]) / file).unlink()
    assert not ledger.is_complete("tiny", names[1])
    assert names[1] not in ledger.names("tiny")


@pytest.mark.parametrize("content", [b"", b"0123"], ids=["empty", "torn"])
def test_checkpoint_whose_manifest_names_nothing_is_not_listed(paths: Paths, content: bytes) -> None:
    names = history(paths)
    (paths.model("tiny").checkpoint(names[1]) / MANIFEST).write_bytes(content)
    assert names[1] not in Ledger(paths).names("tiny")


def test_damaged_record_makes_no_checkpoint_and_breaks_no_history(paths: Paths) -> None:
    names = history(paths)
    ledger = Ledger(paths)
    head(ledger, names[-1])
    (paths.model("tiny").checkpoint(names[1]) / SIDECAR).write_bytes(b'{"schema":')
    for each in (ledger, Ledger(paths)):
        assert [record.name for record in each.checkpoints("tiny")] == [names[0], names[2], names[3]]
        assert each.get("tiny", names[1]).step == 100, "the copy knows"
        assert each.chain("tiny") == names[::-1]


def test_damaged_record_without_a_copy_is_passed_over_in_lists_and_told_when_asked_for(paths: Paths) -> None:
    names = history(paths)
    (paths.model("tiny").checkpoint(names[1]) / SIDECAR).write_bytes(b'{"schema":')
    paths.model("tiny").ledger(names[1]).unlink()
    ledger = Ledger(paths)
    assert [record.name for record in ledger.checkpoints("tiny")] == [names[0], names[2], names[3]]
    with pytest.raises(InvalidData, match="not a whole"):
        ledger.get("tiny", names[1])


def test_removed_weights_leave_the_record_and_the_chain(paths: Paths) -> None:
    names = history(paths)
    ledger = Ledger(paths)
    head(ledger, names[-1])
    shutil.rmtree(paths.model("tiny").checkpoint(names[1]))
    for each in (ledger, Ledger(paths)):
        assert names[1] not in each.names("tiny")
        assert each.get("tiny", names[1]).step == 100
        assert each.chain("tiny") == names[::-1]
        assert list(each.links("tiny")) == sorted(names, key=lambda name: int(name.split("-")[1]))


def test_chain_leaves_out_what_a_reset_cut_off(paths: Paths) -> None:
    names = history(paths)
    ledger = Ledger(paths)
    assert ledger.chain("tiny") == []
    head(ledger, names[1])
    other = make_checkpoint(paths, 150, names[1])
    head(ledger, other)
    assert ledger.chain("tiny") == [other, names[1], names[0]]
    assert set(names) < set(ledger.names("tiny"))


def test_chain_over_a_lost_record_is_an_error_not_a_shorter_history(paths: Paths) -> None:
    names = history(paths)
    ledger = Ledger(paths)
    head(ledger, names[-1])
    shutil.rmtree(paths.model("tiny").checkpoint(names[1]))
    paths.model("tiny").ledger(names[1]).unlink()
    with pytest.raises(InvalidData, match=f"breaks at {names[1]}"):
        Ledger(paths).chain("tiny")


def test_head_of_an_unknown_checkpoint_is_refused(paths: Paths) -> None:
    names = history(paths)
    with pytest.raises(NotFound, match=names[-1]):
        head(Ledger(paths), "checkpoint-7-20261120-2130")
    assert Ledger(paths).head("tiny") is None


def test_resolve_accepts_full_bare_and_step_names(paths: Paths) -> None:
    names = history(paths)
    ledger = Ledger(paths)
    for text in (f"tiny/{names[1]}", names[1], "tiny@100"):
        assert ledger.resolve(text) == ("tiny", names[1])


def test_resolve_refuses_unknown_and_ambiguous_names_and_lists_what_there_is(paths: Paths) -> None:
    names = history(paths)
    ledger = Ledger(paths)
    for text in ("tiny@7", "nobody/x", "../tiny", "", "tiny"):
        with pytest.raises(NotFound, match=f"tiny/{names[-1]}, "):
            ledger.resolve(text)
    make_checkpoint(paths, 100, names[0], suffix="-2")
    with pytest.raises(NotFound, match="in full"):
        ledger.resolve("tiny@100")
    make_checkpoint(paths, 100, None, model="other")
    with pytest.raises(NotFound, match="in full"):
        ledger.resolve(names[1])


def test_resolve_finds_removed_checkpoints_only_when_asked(paths: Paths) -> None:
    names = history(paths)
    shutil.rmtree(paths.model("tiny").checkpoint(names[1]))
    with pytest.raises(NotFound):
        Ledger(paths).resolve(names[1])
    assert Ledger(paths).resolve(names[1], removed=True) == ("tiny", names[1])


def test_missing_copy_is_written_again_from_the_sidecar(paths: Paths) -> None:
    names = history(paths)
    copy = paths.model("tiny").ledger(names[2])
    copy.unlink()
    assert Ledger(paths).keep_copies("tiny") == [names[2]]
    assert copy.read_bytes() == (paths.model("tiny").checkpoint(names[2]) / SIDECAR).read_bytes()
    assert Ledger(paths).keep_copies("tiny") == []


def test_state_and_pins_are_seen(paths: Paths) -> None:
    names = history(paths)
    make_state(paths, names[1])
    paths.model("tiny").pins.mkdir()
    (paths.model("tiny").pins / f"{names[2]}.json").write_text("{}")
    ledger = Ledger(paths)
    assert [name for name in names if ledger.has_state("tiny", name)] == [names[1]]
    assert ledger.pins("tiny") == {names[2]}
    (paths.model("tiny").training_state(names[1]) / "optimizer.pt").unlink()
    assert not is_complete(paths.model("tiny").training_state(names[1]))


def test_model_without_anything_is_empty(paths: Paths) -> None:
    ledger = Ledger(paths)
    assert ledger.models() == ledger.checkpoints("tiny") == ledger.chain("tiny") == []  # type: ignore[comparison-overlap]
    assert ledger.links("tiny") == {} and ledger.pins("tiny") == set()
