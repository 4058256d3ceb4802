"""The door for what others find: raise an alert, or end it, in plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import IntegrityError, transaction

from monitoring.alerts.lifecycle import Seen, State, Timing, life_begin, life_end, life_step
from monitoring.alerts.record import Change, alert_copy, changes_write, identity_of, life_of, toggles_before, value_put
from monitoring.models import Alert, Channel, Deployment, Rule, RuleKind

AT_ONCE = Timing(for_seconds=0, keep_firing_seconds=0)  # who raises it has waited long enough
TRIES = 3


@dataclass(frozen=True)
class Finding:
    """What was found: the name of its rule, of what, and in whose words. money: what it costs if nothing is done."""

    rule: str
    labels: Mapping[str, str]
    summary: str
    severity: str
    consequence: str = ""
    first_action: str = ""
    runbook_url: str = ""
    value: float | None = None
    money: Decimal | None = None
    currency: str = ""


def alert_raise(deployment: Deployment | None, finding: Finding, *, now: datetime) -> Alert:
    """The open alert of this finding; raising it again keeps it open with the newest words, and tells nobody twice."""
    for left in reversed(range(TRIES)):
        try:
            with transaction.atomic():
                return raised(deployment, finding, now=now)
        except IntegrityError:  # somebody raised the same at the same moment: theirs is there now
            if not left:
                raise
    raise AssertionError("unreachable")


def raised(deployment: Deployment | None, finding: Finding, *, now: datetime) -> Alert:
    rule, _ = Rule.objects.get_or_create(
        name=finding.rule, defaults={"kind": RuleKind.FINDING, "severity": finding.severity, "summary": finding.summary, "shipped": True}
    )
    identity = identity_of(finding.rule, finding.labels)
    alert = Alert.objects.open().select_for_update(no_key=True).filter(identity=identity).first()
    if alert is None:
        alert = alert_copy(rule, finding.labels, now=now)
        alert.finding, alert.deployment, alert.team = True, deployment, deployment.team if deployment else None
        before, life = State.OK, life_begin(now.timestamp(), toggles=toggles_before([identity], now=now).get(identity, ()))
    else:
        life = life_of(alert)
        before = life.state
    words_put(alert, finding)
    change = Change(alert, before, life_step(life, Seen.TRUE, now=now.timestamp(), timing=AT_ONCE), noted=True)
    if rule.enabled:
        changes_write([change], channels=channels(), now=now)
        if before is not State.OK:
            alert.save(update_fields=["summary", "severity", "consequence", "first_action", "runbook_url"])
    return alert


def words_put(alert: Alert, finding: Finding) -> None:
    for name in ("summary", "severity", "consequence", "first_action", "runbook_url", "money", "currency"):
        setattr(alert, name, getattr(finding, name))
    value_put(alert, finding.value)


def alert_resolve(rule: str, labels: Mapping[str, str], *, now: datetime, note: str = "") -> Alert | None:
    """End the open alert of a finding; None where there is none."""
    with transaction.atomic():
        alert = Alert.objects.open().select_for_update(no_key=True).filter(identity=identity_of(rule, labels), finding=True).first()
        if alert is None:
            return None
        life = life_of(alert)
        changes_write([Change(alert, life.state, life_end(life, now=now.timestamp()), note)], channels=channels(), now=now)
    return alert


def channels() -> list[Channel]:
    return list(Channel.objects.filter(enabled=True))
