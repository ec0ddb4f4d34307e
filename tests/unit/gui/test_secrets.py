"""Secrets in what a page shows."""

from __future__ import annotations

from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.gui.environments.hand import Refused
from services.gui.environments.keys import key_name
from services.gui.environments.navigation import check_url
from services.gui.environments.observation import without_secrets


@given(st.text(), st.text(), st.text(min_size=4, alphabet=st.characters(exclude_characters="•")))
def test_no_secret_survives(before: str, after: str, secret: str) -> None:
    assert secret not in without_secrets(before + secret + after, [secret])


@given(
    st.text(min_size=4, alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="°"))
)
@example("000%")
def test_no_secret_survives_in_an_address(secret: str) -> None:
    for written in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        assert without_secrets(f"°{written}°", [secret]) == "°•••°"


def test_short_secrets_do_not_blank_out_the_page() -> None:
    assert without_secrets("page 17", ["17"]) == "page 17"


@pytest.mark.parametrize(
    ("said", "meant"),
    [("Enter", "Enter"), ("ctrl", "Control"), ("arrowleft", "ArrowLeft"), ("a", "a"), ("ß", "ß"),
     ("RETURN", "Enter"), ("esc", "Escape"), ("f5", "F5")],
)  # fmt: skip
def test_names_of_keys(said: str, meant: str) -> None:
    assert key_name(said) == meant


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("example.org/a", "https://example.org/a"),
        ("http://127.0.0.1:80/", "http://127.0.0.1:80/"),
        ("about:blank", "about:blank"),
    ],
)
def test_urls(url: str, meant: str) -> None:
    assert check_url(url, allow_files=False) == meant


@pytest.mark.parametrize("url", ["file:///etc/passwd", "chrome://settings", "view-source:http://a"])
def test_urls_that_show_the_machine_are_refused(url: str) -> None:
    with pytest.raises(Refused) as refused:
        check_url(url, allow_files=False)
    assert refused.value.reason == "URL_REFUSED"
