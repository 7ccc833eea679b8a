"""The URLs of notices: what is refused, and that no secret of one is ever written."""

from __future__ import annotations

import pytest

from core.notify_urls import is_webhook, masked, url_flaws


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://anna:pass@hooks.example.com:8443/services/T00/B00?key=abc#f", "https://hooks.example.com:8443/..."),
        ("https://hooks.example.com", "https://hooks.example.com"),
        ("http://[::1]:99/x", "http://[::1]:99/..."),
        ("tgram://123456:ABC/chat", "tgram://..."),
        ("mailto://user:pass@example.com", "mailto://..."),
        ("hooks.example.com/secret", "..."),
        ("http://host:port/secret", "http://..."),
    ],
)
def test_masked_url_keeps_scheme_host_and_port_alone(url: str, said: str) -> None:
    assert masked(url) == said


@pytest.mark.parametrize(
    "url",
    ["https://example.com/x", "http://127.0.0.1:1", "HTTPS://example.com", "json://localhost/x", "tgram://123456:ABC/chat"],
)
def test_good_url_has_no_flaw(url: str) -> None:
    assert list(url_flaws([url])) == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("example.com/secret", "is no URL"),
        ("https:///secret", "names no host"),
        ("https://host:port/secret", "no port"),
        ("mailto:secret", "is no URL"),
    ],
)
def test_bad_url_is_named_by_its_place_and_not_by_its_secret(url: str, said: str) -> None:
    (flaw,) = url_flaws(["https://example.com", url])
    assert said in flaw.detail and "number 2" in flaw.detail and "secret" not in flaw.detail


def test_everything_that_is_no_http_is_left_to_apprise() -> None:
    assert [is_webhook(url) for url in ("http://x", "HTTPS://x", "json://x", "tgram://x")] == [True, True, False, False]
