from __future__ import annotations

import pytest

from services.guard.domain import OriginPattern, origin_of


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://127.0.0.1:8000/miniwob/x.html?seed=3", "http://127.0.0.1:8000"),
        ("HTTP://LocalHost/", "http://localhost"),
        ("https://example.org:443/a", "https://example.org"),
        ("https://example.org./a", "https://example.org"),
        ("file:///srv/pages/a.html", "file://"),
        ("fake://counter", "fake://counter"),
        ("http://[::1]:80/x", "http://[::1]"),
        ("about:blank", "about://"),
        ("http://127.0.0.1:80@evil.example/", "http://evil.example"),
    ],
)
def test_an_origin_is_what_a_browser_connects_to(url: str, origin: str) -> None:
    assert str(origin_of(url)) == origin


@pytest.mark.parametrize(
    "url", ["", "index.html", "//evil.example/x", "http://[::1", "http://a:b/"]
)
def test_what_has_no_scheme_or_cannot_be_read_has_no_origin(url: str) -> None:
    assert origin_of(url) is None


@pytest.mark.parametrize(
    ("pattern", "url", "matches"),
    [
        ("file:", "file:///a/b.html", True),
        ("file:", "http://file/", False),
        ("http://127.0.0.1:*", "http://127.0.0.1:39999/", True),
        ("http://127.0.0.1:*", "http://127.0.0.1/", True),
        ("http://127.0.0.1:*", "http://127.0.0.1.evil.example:80/", False),
        ("http://127.0.0.1:*", "http://127.0.0.1:1@evil.example/", False),
        ("http://127.0.0.1:*", "https://127.0.0.1/", False),
        ("http://[::1]:*", "http://[::1]:8080/", True),
        ("https://example.org", "https://example.org/a", True),
        ("https://example.org", "https://example.org:8443/a", False),
        ("https://example.org:8443", "https://example.org:8443/a", True),
        ("https://*.example.org", "https://shop.example.org/", True),
        ("https://*.example.org", "https://example.org/", False),
        ("https://*.example.org", "https://shop.example.org.evil.net/", False),
        ("*://example.org:*", "wss://example.org:99/", True),
    ],
)
def test_patterns(pattern: str, url: str, *, matches: bool) -> None:
    origin = origin_of(url)
    assert origin is not None
    assert OriginPattern.parse(pattern).matches(origin) is matches


@pytest.mark.parametrize("text", ["", "example.org", "http://a/b", "http://u@a", "http://a:b"])
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected an origin"):
        OriginPattern.parse(text)
