"""Packed files: whatever is packed comes out whole, or is refused with how far it got."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import zstandard

from core.jobs.inbox import PACKINGS
from tests.core.jobs.unpack.unpacking import MIB, packed, unpacked

LINES = [{"prompt": f"What is {number}?", "completion": str(number)} for number in range(500)]
JSONL = b"".join(json.dumps(line).encode() + b"\n" for line in LINES)
PARTS = JSONL[:7000], JSONL[7000:]


@pytest.mark.parametrize("packing", PACKINGS)
def test_file_of_several_parts_is_read_to_its_end(tmp_path: Path, packing: str) -> None:
    content = packed(PARTS[0], packing) + packed(b"", packing) + packed(PARTS[1], packing)
    assert unpacked(tmp_path, f"a.jsonl{packing}", content).lines == LINES


def test_zstandard_frames_that_carry_no_data_are_passed_over(tmp_path: Path) -> None:
    skippable = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"abcde"
    content = skippable + packed(PARTS[0], ".zst") + skippable + packed(PARTS[1], ".zst")
    assert unpacked(tmp_path, "a.jsonl.zst", content).lines == LINES


def test_zstandard_without_the_size_of_its_content_and_with_a_checksum_is_read(tmp_path: Path) -> None:
    packer = zstandard.ZstdCompressor(write_checksum=True, write_content_size=False)
    content = packer.compressobj()
    assert unpacked(tmp_path, "a.jsonl.zst", content.compress(JSONL) + content.flush()).lines == LINES


def test_gzip_with_zeros_after_it_is_read(tmp_path: Path) -> None:
    assert unpacked(tmp_path, "a.jsonl.gz", packed(JSONL, ".gz") + bytes(100_000)).lines == LINES


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("left", [1, 4, 8, 0.3, 0.9])
def test_truncated_file_is_refused_and_says_how_far_it_got(tmp_path: Path, packing: str, left: float) -> None:
    content = packed(JSONL, packing)
    size = len(content) - int(left) if left >= 1 else int(len(content) * left)
    found = unpacked(tmp_path, f"a.jsonl{packing}", content[:size])
    assert found.code == "unreadable"
    assert "ends in the middle" in found.says and f"at byte {size} of {size}" in found.says and "unpacked bytes" in found.says


@pytest.mark.parametrize("packing", PACKINGS)
def test_second_part_cut_off_is_refused_too(tmp_path: Path, packing: str) -> None:
    content = packed(JSONL, packing) * 2
    found = unpacked(tmp_path, f"a.jsonl{packing}", content[:-3])
    assert (found.code, "ends in the middle" in found.says) == ("unreadable", True)


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("more", [b"<html>", b"\x1f", b"x"])
def test_what_follows_a_packed_file_is_never_ignored(tmp_path: Path, packing: str, more: bytes) -> None:
    content = packed(JSONL, packing)
    found = unpacked(tmp_path, f"a.jsonl{packing}", content + more)
    assert (found.code, "something else follows" in found.says) == ("unreadable", True)
    assert f"at byte {len(content)} of" in found.says and f"after {len(JSONL)} unpacked bytes" in found.says


@pytest.mark.parametrize("packing", PACKINGS)
def test_flipped_byte_is_found_by_the_checksum(tmp_path: Path, packing: str) -> None:
    packer = zstandard.ZstdCompressor(write_checksum=True)
    content = bytearray(packer.compress(JSONL) if packing == ".zst" else packed(JSONL, packing))
    content[-3 if packing == ".zst" else -7] ^= 0xFF  # of the checksum itself
    found = unpacked(tmp_path, f"a.jsonl{packing}", bytes(content))
    assert (found.code, "is damaged" in found.says) == ("unreadable", True)


@pytest.mark.parametrize("packing", PACKINGS)
def test_file_that_is_not_what_its_ending_says_is_refused_with_what_it_begins_with(tmp_path: Path, packing: str) -> None:
    found = unpacked(tmp_path, f"a.jsonl{packing}", JSONL)
    assert found.code == "unreadable"
    assert "begins with 7b 22 70 72" in found.says and "Name it as what it is" in found.says


@pytest.mark.parametrize("packing", PACKINGS)
def test_empty_packed_file_holds_nothing(tmp_path: Path, packing: str) -> None:
    assert unpacked(tmp_path, f"a.jsonl{packing}", b"").lines == []
    assert unpacked(tmp_path, f"a.jsonl{packing}", packed(b"", packing)).lines == []


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".parquet"])
@pytest.mark.parametrize("packing", PACKINGS)
def test_bomb_is_refused_by_its_ratio_before_it_fills_the_disk(tmp_path: Path, ending: str, packing: str) -> None:
    content = packed(b" " * (40 * MIB), packing)
    found = unpacked(tmp_path, f"a{ending}{packing}", content)
    assert found.code == "unpack_ratio"
    assert f"{len(content)} bytes unpack to more than 200 times" in found.says and "drop it unpacked" in found.says
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < len(content) * 210 + 2 * MIB


def test_bomb_inside_of_a_bomb_of_frames_is_refused(tmp_path: Path) -> None:
    content = packed(b"\n" * (2 * MIB), ".gz") * 20
    assert unpacked(tmp_path, "a.jsonl.gz", content).code == "unpack_ratio"


@pytest.mark.parametrize("packing", PACKINGS)
def test_file_that_unpacks_to_more_than_is_allowed_is_too_big(tmp_path: Path, packing: str) -> None:
    found = unpacked(tmp_path, f"a.jsonl{packing}", packed(JSONL, packing), max_file_bytes=20_000)
    assert (found.code, "more than 20000 bytes" in found.says, "split it" in found.says) == ("too_big", True, True)


def test_small_file_may_be_as_repetitive_as_it_likes(tmp_path: Path) -> None:
    content = gzip.compress(b'{"prompt": "a", "completion": "' + b"b" * 900_000 + b'"}\n')
    assert len(content) * 200 < 900_000
    assert len(unpacked(tmp_path, "a.jsonl.gz", content).lines) == 1


def test_zstandard_that_wants_gigabytes_of_memory_is_refused(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=30, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    content = packer.compress(JSONL) + packer.flush()
    found = unpacked(tmp_path, "a.jsonl.zst", content)
    assert (found.code, "needs more than 128 MiB of memory to unpack" in found.says) == ("unreadable", True)
