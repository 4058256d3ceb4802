"""The page on alerts, held to the code."""

from pathlib import Path

import pytest

from monitoring.alerts import burn, lifecycle, outbox
from monitoring.alerts.channels.webhook import BODY_MOST
from monitoring.alerts.defaults import DEFAULTS
from monitoring.alerts.signals import NAMED, Signal
from monitoring.models import ChannelKind, Rule

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "alerts.md").read_text()
WORDS = " ".join(PAGE.split())


@pytest.mark.parametrize("signal", NAMED.values(), ids=NAMED)
def test_every_named_signal_is_on_the_page(signal: Signal) -> None:
    assert f"| `{signal.name}` | {signal.entity} | {signal.unit} | {signal.meaning} |" in PAGE


@pytest.mark.parametrize("fields", DEFAULTS, ids=lambda fields: fields["name"])
def test_every_shipped_rule_is_on_the_page_as_it_is(fields: dict[str, object]) -> None:
    rule = Rule(**fields)
    fires = f"`{rule.signal}` above {rule.threshold:g} over {rule.window_seconds} s"
    assert f"| `{rule.name}` | {rule.severity} | {fires} | {rule.for_seconds} s | {rule.summary}. |" in PAGE


def test_every_kind_of_channel_is_on_the_page() -> None:
    assert all(f"| `{kind}` |" in PAGE for kind in ChannelKind.values)


@pytest.mark.parametrize(
    "sentence",
    [
        f"A gap of up to {lifecycle.UNKNOWN_GRACE / 60:g} minutes",
        f"More than {lifecycle.FLAP_EDGES} edges within an hour",
        f"not changed for {lifecycle.FLAP_STABLE / 60:g} minutes",
        f"under a lease of {outbox.LEASE.seconds} seconds",
        f"At most {outbox.MESSAGES_A_MINUTE} messages a minute and channel; where more than {outbox.SINGLE_MOST} deployments",
        f"of up to {outbox.TOGETHER_MOST} alerts",
        f"dead after {outbox.REFUSALS_MOST} tries",
        f"for {outbox.GIVE_UP.total_seconds() / 3600:g} h",
        f"({burn.MIN_REQUESTS} at least)",
        f"the last {burn.CATCH_UP} minutes",
        f"under {BODY_MOST // 1000} kB",
    ],
)
def test_its_numbers_are_those_of_the_code(sentence: str) -> None:
    assert sentence in WORDS
