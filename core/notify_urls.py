"""The URLs that notices go to: what is wrong with one, and how it is written where others may read.

Place in the flow: core.in_force checks notify.urls with it, daemons/send_notices names receivers with it. Reads no file.
Invariant: masked() never gives back user names, passwords, tokens in the path or the query.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from urllib.parse import SplitResult, urlsplit

from core.config_shapes import Flaw

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
INSTALL = "./scripts/install.sh training,notify"


def is_webhook(url: str) -> bool:
    """Say whether a URL gets a plain POST; every other scheme is apprise's."""
    return url.partition("://")[0].lower() in ("http", "https")


def url_flaws(urls: Sequence[str]) -> Iterator[Flaw]:
    """Give what is wrong with the URLs of notify.urls, as far as it can be seen without importing apprise."""
    key = ("notify", "urls")
    for at, url in enumerate(urls):
        said = f"number {at + 1}, {masked(url)}"
        if not _SCHEME.match(url):
            yield Flaw(key, f"{said}, is no URL", "valid: https://host/path, or a URL of apprise")
        elif is_webhook(url):
            parts = _parts(url)
            if parts is None or not parts.hostname:
                yield Flaw(key, f"{said}, names no host, or no port that could be one", "valid: https://host:port/path")
        elif find_spec("apprise") is None:
            yield Flaw(key, f"{said}, needs apprise, which is not installed", f"run {INSTALL}, then restart the factory")


def masked(url: str) -> str:
    """Write a URL without what may be secret in it: scheme, host and port stay, the rest becomes dots."""
    scheme = _SCHEME.match(url)
    parts = _parts(url) if scheme and is_webhook(url) else None
    if parts is None or not parts.hostname:
        return f"{scheme[0]}..." if scheme else "..."  # where apprise keeps tokens differs: in the host, too
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    return (
        f"{scheme[0] if scheme else ''}{host}{port}{'/...' if parts.path.strip('/') or parts.query or parts.fragment else ''}"
    )


def _parts(url: str) -> SplitResult | None:
    """Take a URL of http(s) apart; None for one that cannot be."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts
