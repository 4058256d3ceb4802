"""The page on alerts, held to the code."""

from pathlib import Path

import pytest

from monitoring.alerts import burn, digest, lifecycle, messages, outbox
from monitoring.alerts.channel_setup import TEST_TIMEOUT
from monitoring.alerts.channels.webhook import BODY_MOST
from monitoring.alerts.defaults import DEFAULTS
from monitoring.alerts.signals import NAMED, Signal
from monitoring.models import LOOPS_WATCHED, Channel, ChannelKind, Rule

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "alerts.md").read_text()
WORDS = " ".join(PAGE.split())


def default(column: str) -> int:
    return int(Channel._meta.get_field(column).default)


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
        f"At most {outbox.MESSAGES_A_MINUTE} messages a minute and channel, to Slack one a second",
        f"where more than {outbox.SINGLE_MOST} deployments wait",
        f"wait {default('group_wait_seconds')} s for each other",
        f"wait up to {default('group_interval_seconds') // 60} min (`group_interval_seconds`)",
        f"each {default('repeat_critical_seconds') // 3600} h (`repeat_critical_seconds`)",
        f"each {default('repeat_warning_seconds') // 3600} h (`repeat_warning_seconds`; 0: never)",
        f"within {default('escalate_after_seconds') // 60} min (`escalate_after_seconds`)",
        f"answers within {sum(TEST_TIMEOUT) + TEST_TIMEOUT[1]:g} seconds",
        f"of the {messages.LOOK_BACK.total_seconds() / 3600:g} hours before",
        f"On Monday at {digest.HOUR}:00 UTC",
        f"{LOOPS_WATCHED['monitoring.alerts_send'] / 60:g} minutes for polling",
        f"{LOOPS_WATCHED['monitoring.partitions_ahead'] / 3600:g} hours for making partitions",
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
