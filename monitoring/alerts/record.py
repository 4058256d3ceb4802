"""Steps of lives -> rows: the alert, its transition and one notification a channel, all in the caller's transaction."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from monitoring.alerts.enrichment import enrichments_of, trouble_of
from monitoring.alerts.lifecycle import FLAP_WINDOW, OVER, Life, State, Step, Told
from monitoring.alerts.matching import labels_match
from monitoring.alerts.messages import contexts_of
from monitoring.models import Alert, AlertTransition, Channel, Comparison, Notification, Rule

KEPT_FRESH = timedelta(seconds=60)  # how old the last sight of an unchanged alert may be in its row
CHANGING = (
    *(
        "state",
        "state_since",
        "known_at",
        "flipped_at",
        "condition",
        "fired",
        "flapping",
        "toggles",
        "fired_at",
        "resolved_at",
        "closed_at",
    ),
    *("value", "worst_value", "edge_number", "step_number", "inhibited_by", "silenced_by", "money", "currency", "context"),
)
BATCH = 500
ENRICHED = (Told.FIRE, Told.FLAPPING, Told.RESOLVE)


@dataclass
class Change:
    """An alert (not yet saved where it is new), what it was, and its next step."""

    alert: Alert
    before: State
    step: Step
    note: str = ""
    noted: bool = False  # a flag or its worst value changed

    @property
    def moved(self) -> bool:
        return self.before is not self.step.life.state or self.step.edge is not None

    def worth_saving(self, now: datetime) -> bool:
        """An open alert that goes on as it was is written once a minute, not each round."""
        return self.moved or self.noted or now - self.alert.known_at > KEPT_FRESH


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)


def identity_of(rule_name: str, labels: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps([rule_name, sorted(labels.items())]).encode()).hexdigest()


def life_of(alert: Alert) -> Life:
    return Life(
        State(alert.state),
        alert.state_since.timestamp(),
        alert.known_at.timestamp(),
        alert.flipped_at.timestamp(),
        alert.condition,
        alert.fired,
        alert.flapping,
        tuple(alert.toggles),
    )


def life_put(alert: Alert, step: Step, *, now: datetime) -> None:
    life = step.life
    alert.state, alert.state_since = life.state, moment(life.since)
    alert.known_at, alert.flipped_at, alert.condition = moment(life.known_at), moment(life.flipped_at), life.condition
    alert.fired, alert.flapping, alert.toggles = life.fired, life.flapping, list(life.toggles)
    if step.edge in (Told.FIRE, Told.FLAPPING) and alert.fired_at is None:
        alert.fired_at = now
    if life.state in OVER:
        alert.closed_at = now
        alert.resolved_at = now if life.state is State.RESOLVED else None
    if step.edge is not None:
        alert.edge_number += 1


def value_put(alert: Alert, value: float | None, *, comparison: str = Comparison.ABOVE) -> bool:
    """Whether it was never as bad as this."""
    if value is None:
        return False
    worse = max if comparison == Comparison.ABOVE else min
    before = alert.worst_value
    alert.value = value
    alert.worst_value = value if before is None else worse(before, value)
    return alert.worst_value != before


def toggles_before(identities: Sequence[str], *, now: datetime) -> dict[str, tuple[float, ...]]:
    """Edges of the last hour of alerts that were closed, by identity: who comes back often is flapping."""
    if not identities:
        return {}
    rows = Alert.objects.filter(identity__in=identities, closed_at__gt=now - timedelta(seconds=FLAP_WINDOW))
    return {identity: tuple(toggles) for identity, toggles in rows.order_by("closed_at").values_list("identity", "toggles")}


def alert_copy(rule: Rule, labels: Mapping[str, str], *, now: datetime) -> Alert:
    """A new alert with what the rule says."""
    return Alert(
        identity=identity_of(rule.name, labels),
        rule=rule,
        rule_name=rule.name,
        labels=dict(labels),
        severity=rule.severity,
        summary=rule.summary,
        consequence=rule.consequence,
        first_action=rule.first_action,
        runbook_url=rule.runbook_url,
        started_at=now,
    )


def changes_write(changes: Iterable[Change], *, channels: Sequence[Channel], now: datetime) -> int:
    """A few statements, however many changes; how many edges. The caller holds the transaction."""
    kept = [change for change in changes if change.worth_saving(now)]
    new, old = [change.alert for change in kept if change.alert.pk is None], [change.alert for change in kept if change.alert.pk]
    for change in kept:
        life_put(change.alert, change.step, now=now)
        change.alert.step_number += int(change.moved)
    enrich([change for change in kept if change.step.edge in ENRICHED], now=now)
    Alert.objects.bulk_create(new)
    Alert.objects.bulk_update(old, CHANGING, batch_size=BATCH)
    moved = [change for change in kept if change.moved]
    AlertTransition.objects.bulk_create([transition_of(change, now=now) for change in moved])
    told = [change for change in moved if change.step.edge is not None]
    begun = begun_load(told)
    known = contexts_of([(change.alert, change.step.edge or "") for change in told], now=now)
    rows = [notifications_of(change, takers_of(change, channels, begun), known.get(change.alert.pk, {}), now=now) for change in told]
    Notification.objects.bulk_create([row for own in rows for row in own])
    return len(told)


def enrich(changes: Sequence[Change], *, now: datetime) -> None:
    """What is known besides, as it begins and as it ends; money that a finding brought stays."""
    found = enrichments_of([trouble_of(change.alert, ended=change.step.edge is Told.RESOLVE) for change in changes], now=now)
    for change, known in zip(changes, found, strict=True):
        alert = change.alert
        if known.money is not None and not (alert.finding and alert.money is not None):
            alert.money, alert.currency = known.money, known.currency
        alert.context = {**alert.context, **known.context}


def transition_of(change: Change, *, now: datetime) -> AlertTransition:
    alert = change.alert
    return AlertTransition(
        alert=alert,
        number=alert.step_number,
        at=now,
        from_state=change.before,
        to_state=alert.state,
        edge=change.step.edge or "",
        value=alert.value,
        note=change.note,
    )


def begun_load(told: Iterable[Change]) -> set[tuple[int, int]]:
    """(alert, channel) of those whose end is to be told and whose beginning was to be: by routing, or because it went on there."""
    ended = [change.alert.pk for change in told if change.step.edge is Told.RESOLVE]
    rows = Notification.objects.filter(alert__in=ended).exclude(edge=Told.RESOLVE) if ended else Notification.objects.none()
    return set(rows.values_list("alert", "channel"))


def takers_of(change: Change, channels: Sequence[Channel], begun: Collection[tuple[int, int]]) -> list[Channel]:
    """An end goes to whom its beginning went; the notice of flapping to the whole team; all else by routing."""
    alert, edge = change.alert, change.step.edge
    if edge is Told.RESOLVE:
        return [channel for channel in channels if (alert.pk, channel.pk) in begun]
    whole = edge is Told.FLAPPING and alert.team_id is not None
    return [channel for channel in channels if channel_takes(channel, alert) or (whole and channel.team_id == alert.team_id)]


def channel_takes(channel: Channel, alert: Alert) -> bool:
    """Routing by team, severity and labels. A channel that was switched off takes them too: they wait until it is mended."""
    if channel.team_id is not None and channel.team_id != alert.team_id:
        return False
    return (not channel.severities or alert.severity in channel.severities) and labels_match(alert.labels, channel.matchers)


def notifications_of(change: Change, channels: Sequence[Channel], known: Mapping[str, Any], *, now: datetime) -> list[Notification]:
    alert, edge = change.alert, change.step.edge or ""
    return [
        Notification(
            alert=alert,
            channel=channel,
            edge_number=alert.edge_number,
            edge=edge,
            dedup_key=f"headroom-{alert.pk}-{alert.edge_number}-{channel.pk}",
            content=content_of(alert, edge=edge) | {"at": now.timestamp(), **known},
            run_after=now + timedelta(seconds=channel.group_wait_seconds),
            created_at=now,
        )
        for channel in channels
    ]


def content_of(alert: Alert, *, edge: str) -> dict[str, Any]:
    """What a message says, as it was at the edge; plain values for JSON, times in Unix seconds."""
    return {
        "alert": alert.pk,
        "identity": alert.identity,
        "rule": alert.rule_name,
        "edge": edge,
        "severity": alert.severity,
        "labels": alert.labels,
        "team": alert.team_id,
        "deployment": alert.deployment_id,
        "summary": alert.summary,
        "consequence": alert.consequence,
        "first_action": alert.first_action,
        "runbook_url": alert.runbook_url,
        "value": alert.value,
        "worst_value": alert.worst_value,
        "started_at": alert.started_at.timestamp(),
        "fired_at": alert.fired_at.timestamp() if alert.fired_at else None,
        "resolved_at": alert.resolved_at.timestamp() if alert.resolved_at else None,
        "money": str(alert.money) if alert.money is not None else None,
        "currency": alert.currency,
        "context": alert.context,
        "acknowledged_by": alert.acknowledged_by,
        "acknowledged_until": alert.acknowledged_until.timestamp() if alert.acknowledged_until else None,
    }
