"""What a source may be told; no database."""

import re

import pytest

from monitoring.sources import certificate_clean, credentials_missing, header_clean, selector_clean, url_clean


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (" http://prom:9090/ ", "http://prom:9090"),
        ("https://prom.example.com/prom/graph?g0.expr=up#tab", "https://prom.example.com/prom"),
        ("http://prom:9090/api/v1/query", "http://prom:9090"),
        ("http://mimir/prometheus", "http://mimir/prometheus"),
    ],
)
def test_a_pasted_address_becomes_the_base(typed: str, kept: str) -> None:
    assert url_clean(typed) == kept


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("ftp://prom", "Only http and https"),
        ("http://me:pw@prom", "Leave user and password out"),
        ("http://prom/?tenant=a", "Leave ? and #"),
        ("http://prom/#a", "Leave ? and #"),
    ],
)
def test_what_would_be_lost_or_leak_is_refused(typed: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        url_clean(typed)


def test_selectors_lose_their_braces_and_nothing_else_gets_in() -> None:
    assert selector_clean(' {cluster="prod", env=~"live|test"} ') == 'cluster="prod", env=~"live|test"'
    assert selector_clean("  ") == ""
    with pytest.raises(ValueError, match="not a list of label matchers"):
        selector_clean('a="b"} or up{')


def test_a_header_name_is_one_word() -> None:
    assert header_clean(" X-Scope-OrgID ") == "X-Scope-OrgID"
    with pytest.raises(ValueError, match="letters, digits and dashes"):
        header_clean("X-A\r\nB: c")


@pytest.mark.parametrize("text", ["no certificate", "\u00b9 <@", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"])
def test_what_is_no_certificate_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="BEGIN CERTIFICATE"):
        certificate_clean(text)
    assert certificate_clean("  ") == ""


@pytest.mark.parametrize(
    ("auth", "missing"), [("none", set()), ("bearer", {"secret"}), ("basic", {"secret", "username"}), ("header", {"secret", "header_name"})]
)
def test_each_way_to_sign_in_asks_for_what_it_needs(auth: str, missing: set[str]) -> None:
    assert set(credentials_missing(auth, username="", header_name="", secret=False)) == missing
    assert credentials_missing(auth, username="me", header_name="X-A", secret=True) == {}
