"""Key files: config/local/tokens/{web,oracle-read,oracle-admin}, mode 0600, made at the first start, never shown in a log.

Made by the Weaver, read by the web process, the oracle and their clients. A key that others can read is not used.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from core.errors import KeyFileExposed, NotFound
from core.files import replace_durable
from core.paths import Paths

KEY_NAMES = ("web", "oracle-read", "oracle-admin")
_KEY_BYTES = 32


def make_keys(paths: Paths) -> list[str]:
    """Make the key files that are missing (256 random bits each, URL-safe) and give their names; existing ones stay."""
    paths.tokens.mkdir(parents=True, exist_ok=True)
    paths.local.chmod(0o700)
    made = []
    for name in KEY_NAMES:
        path = paths.tokens / name
        if not path.exists():
            replace_durable(path, secrets.token_urlsafe(_KEY_BYTES).encode() + b"\n", mode=0o600)
            made.append(name)
    return made


def read_key(path: Path) -> str:
    """Give the key in a key file. Raises NotFound when it is missing or empty, KeyFileExposed when others can read it."""
    try:
        mode = path.stat().st_mode & 0o777
        text = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        text, mode = "", 0o600
    if mode & 0o077:
        raise KeyFileExposed(path=str(path), mode=mode)
    if not text:
        raise NotFound(kind="key file", name=str(path), known=", ".join(KEY_NAMES) + " (made by the first `weaver up`)")
    return text
