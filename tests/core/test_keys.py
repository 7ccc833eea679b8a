"""Key files: made once, private, never used when exposed."""

from __future__ import annotations

import pytest

from core.errors import KeyFileExposed, NotFound
from core.keys import KEY_NAMES, make_keys, read_key
from core.paths import Paths


def test_keys_are_made_once_private_and_different(paths: Paths) -> None:
    assert make_keys(paths) == list(KEY_NAMES)
    keys = [read_key(paths.tokens / name) for name in KEY_NAMES]
    assert len(set(keys)) == 3 and min(map(len, keys)) >= 43
    assert {(paths.tokens / name).stat().st_mode & 0o777 for name in KEY_NAMES} == {0o600}
    assert paths.local.stat().st_mode & 0o777 == 0o700
    (paths.tokens / "web").unlink()
    assert make_keys(paths) == ["web"]
    assert [read_key(paths.tokens / name) for name in KEY_NAMES[1:]] == keys[1:]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_key_that_others_can_reach_is_refused_with_the_fix(paths: Paths, mode: int) -> None:
    make_keys(paths)
    (paths.tokens / "web").chmod(mode)
    with pytest.raises(KeyFileExposed, match="chmod 600") as caught:
        read_key(paths.tokens / "web")
    assert caught.value.exit_code == 78


@pytest.mark.parametrize("text", [None, "", "\n"])
def test_missing_or_empty_key_is_an_error_that_says_who_makes_it(paths: Paths, text: str | None) -> None:
    if text is not None:
        (paths.tokens / "web").write_text(text)
        (paths.tokens / "web").chmod(0o600)
    with pytest.raises(NotFound, match="weaver up"):
        read_key(paths.tokens / "web")
