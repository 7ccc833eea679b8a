"""Loading: only what hashes to its manifest and fits its architecture is ever used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from core.checkpoints.ledger import manifest_id, write_manifest
from core.errors import InvalidData, ManifestMismatch
from core.paths import Paths
from tests.trainer.serve.oracle_home import name_of
from trainer.serve.loaded import Loaded, Target, Tokenizers, load
from trainer.serve.score import score_continuations


def fetch(paths: Paths, step: int = 10, weights_id: str | None = None) -> Loaded:
    return load(paths, Target("tiny", name_of(step), weights_id), Tokenizers(), "cpu")


def folder_of(paths: Paths, step: int = 10) -> Path:
    return paths.model("tiny").checkpoint(name_of(step))


def flip_bit(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_loaded_checkpoint_says_what_it_is(home: Paths) -> None:
    found = fetch(home)
    assert (found.id, found.step, found.dtype, found.device) == (f"tiny/{name_of(10)}", 10, "float32", "cpu")
    assert found.weights_id == manifest_id(folder_of(home))
    assert (found.context, found.vocabulary, found.bytes) == (1024, 320, 363_312 * 4)
    assert found.ends == set(found.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"]))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja", ".ledger.json"])
def test_one_flipped_bit_anywhere_is_refused_by_file_name(home: Paths, name: str) -> None:
    path = folder_of(home) / name
    flip_bit(path, path.stat().st_size // 2)
    with pytest.raises(ManifestMismatch, match=f"{name} hashes to .*, expected .*The checkpoint is not used"):
        fetch(home)


def test_missing_and_additional_files_are_refused(home: Paths) -> None:
    (folder_of(home, 20) / "evil.py").write_text("raise SystemExit")
    with pytest.raises(ManifestMismatch, match=r"evil.py is not in the manifest"):
        fetch(home, 20)
    (folder_of(home) / "model.safetensors").unlink()
    with pytest.raises(ManifestMismatch, match=r"model.safetensors is missing"):
        fetch(home)


def test_weights_under_a_name_that_was_taken_over_are_refused(home: Paths) -> None:
    assert fetch(home, weights_id=manifest_id(folder_of(home))).step == 10
    with pytest.raises(ManifestMismatch, match="expected 0123456789abcdef: another checkpoint took its name"):
        fetch(home, weights_id="0123456789abcdef")


@pytest.mark.parametrize("at", [0, 8], ids=["length", "text"])
def test_absurd_header_is_an_error_even_if_it_hashes_as_its_manifest_says(home: Paths, at: int) -> None:
    with (folder_of(home) / "model.safetensors").open("r+b") as file:
        file.seek(at)
        file.write((2**60).to_bytes(8, "little") if at == 0 else b"\xff" * 8)
    write_manifest(folder_of(home))
    with pytest.raises(InvalidData, match="cannot be loaded"):
        fetch(home)


def test_missing_weight_is_an_error_and_not_a_random_number(home: Paths) -> None:
    path = folder_of(home) / "model.safetensors"
    weights = load_file(path)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    write_manifest(folder_of(home))
    with pytest.raises(InvalidData, match=r"do not fit the architecture.*up_proj"):
        fetch(home)


def test_left_over_or_misshapen_weight_is_an_error(home: Paths) -> None:
    for step, name, rows in ((10, "model.left.over", 3), (20, "model.norm.weight", 3)):
        path = folder_of(home, step) / "model.safetensors"
        weights = load_file(path)
        weights[name] = weights["model.norm.weight"][:rows].clone()
        save_file(weights, path, metadata={"format": "pt"})
        write_manifest(folder_of(home, step))
        with pytest.raises(InvalidData, match=name):
            fetch(home, step)


def test_pickled_weights_are_not_opened(home: Paths) -> None:
    folder = folder_of(home)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    write_manifest(folder)
    with pytest.raises(InvalidData, match="cannot be loaded"):
        fetch(home)


def test_code_in_the_folder_is_not_run(home: Paths) -> None:
    folder = folder_of(home)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "homemade", "auto_map": {"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    write_manifest(folder)
    with pytest.raises(InvalidData):
        fetch(home)
    assert not (folder / "ran").exists()


def test_change_of_the_file_after_loading_changes_nothing_that_is_served(home: Paths) -> None:
    found = fetch(home)
    before = score_continuations(found.net, [([5, 6, 7], [8, 9])], 0)
    path = folder_of(home) / "model.safetensors"
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(bytes(path.stat().st_size // 2))
        file.truncate(path.stat().st_size // 2)
    assert score_continuations(found.net, [([5, 6, 7], [8, 9])], 0) == before


def test_checkpoints_with_the_same_tokenizer_files_share_one(home: Paths) -> None:
    tokenizers = Tokenizers()
    first = load(home, Target("tiny", name_of(10)), tokenizers, "cpu")
    second = load(home, Target("tiny", name_of(20)), tokenizers, "cpu")
    assert second.tokenizer is first.tokenizer
    template = folder_of(home, 30) / "chat_template.jinja"
    template.write_text(template.read_text() + "{#- another -#}")
    write_manifest(folder_of(home, 30))
    assert load(home, Target("tiny", name_of(30)), tokenizers, "cpu").tokenizer is not first.tokenizer
