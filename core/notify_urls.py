"""The URLs that notices go to: what is wrong with one, and how it is written where others may read.

Place in the flow: core.in_force checks notify.urls with it, daemons/send_notices names receivers with it. Reads no file.
Invariant: masked() never gives back user names, passwords, tokens in the path or the query.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from urllib.parse import SplitResult, urlsplit

from core.config_shapes import Flaw

INSTALL = "./scripts/install.sh training,notify"


def is_webhook(url: str) -> bool:
    """Say whether a URL gets a plain POST; every other scheme is apprise's."""
    return url.partition("://")[0].lower() in ("http", "https")


def url_flaws(urls: Sequence[str]) -> Iterator[Flaw]:
    """Give what is wrong with the URLs of notify.urls, as far as it can be seen without importing apprise."""
    key = ("notify", "urls")
    for at, url in enumerate(urls):
        parts = _parts(url)
        said = f"number {at + 1}, {masked(url)}"
        if parts is None or not parts.scheme or "://" not in url:
            yield Flaw(key, f"{said}, is no URL", "valid: https://host/path, or a URL of apprise")
        elif is_webhook(url) and not parts.hostname:
            yield Flaw(key, f"{said}, names no host", "valid: https://host/path")
        elif not is_webhook(url) and find_spec("apprise") is None:
            yield Flaw(key, f"{said}, needs apprise, which is not installed", f"run {INSTALL}, then restart the factory")


def masked(url: str) -> str:
    """Write a URL without what may be secret in it: scheme, host and port stay, the rest becomes dots."""
    parts = _parts(url)
    if parts is None or not parts.scheme or "://" not in url:
        return "..."
    if not is_webhook(url):
        return f"{parts.scheme}://..."  # where apprise keeps tokens differs from service to service: in the host, too
    port = f":{parts.port}" if parts.port else ""
    rest = "/..." if parts.path.strip("/") or parts.query or parts.fragment else parts.path
    return f"{parts.scheme}://{parts.hostname or ''}{port}{rest}"


def _parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts
