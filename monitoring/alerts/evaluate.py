"""A round: every metric rule over every subject it means, once for each moment, in one transaction.

Who holds the mark's row evaluates; an evaluation that is not newer than the mark does nothing. So a round may be tried
by any number of processes, and one that is killed leaves nothing behind and is done again.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from django.db import transaction
from numpy.typing import NDArray

from monitoring.alerts.burn import minutes_judge
from monitoring.alerts.defaults import rules_ship
from monitoring.alerts.lifecycle import OVER, Seen, State, Timing, life_begin, life_end, life_step
from monitoring.alerts.loops import loops_watch
from monitoring.alerts.matching import labels_match
from monitoring.alerts.readings import readings_load
from monitoring.alerts.record import Change, alert_copy, changes_write, identity_of, life_of, toggles_before, value_put
from monitoring.alerts.signals import Floats, Readings, signal_find
from monitoring.alerts.silences import silence_of
from monitoring.alerts.subjects import Subject, subjects_load
from monitoring.models import Alert, Channel, Comparison, EvaluationMark, Rule, RuleKind, Severity, Silence, Slo
from monitoring.series import watermarks_held

MARK = "rules"
OUTAGE = timedelta(seconds=180)  # a pause of ours longer than this: nobody else was silent meanwhile
Key = tuple[tuple[str, str], ...]
RANK = {Severity.CRITICAL: 2, Severity.WARNING: 1, Severity.INFO: 0}


@dataclass(frozen=True)
class Observation:
    """What a rule finds of one subject."""

    rule: Rule
    subject: Subject
    identity: str
    seen: Seen
    value: float | None


def alerts_evaluate(*, now: datetime) -> str:
    """One line of what changed; empty: nothing."""
    with transaction.atomic(), watermarks_held():
        mark = mark_take(now=now)
        if mark is None:
            return ""
        rules = rules_load()
        slos = {slo.deployment_id: slo for slo in Slo.objects.all()}
        minutes_judge(slos.values(), now=now)
        subjects = subjects_load({rule.entity for rule in rules}, now=now)
        readings = readings_load(rules, subjects, now=now, resumed_at=mark.resumed_at, slos=slos)
        opened = {alert.identity: alert for alert in Alert.objects.open().filter(finding=False).select_for_update(no_key=True)}
        seen = {found.identity: found for found in observe(rules, subjects, readings, opened=opened.values())}
        changes = [*changes_of(opened, seen, now=now), *begin(opened, seen, now=now)]
        flags_put(changes, seen, silences=list(Silence.objects.filter(start_at__lte=now)), now=now)
        told = changes_write(changes, channels=list(Channel.objects.filter(enabled=True)), now=now)
        moved = sum(change.moved for change in changes)
        loops_watch(now=now, resumed_at=mark.resumed_at)
    return f"{moved} steps of alerts, {told} to tell" if moved else ""


def mark_take(*, now: datetime) -> EvaluationMark | None:
    """The mark, locked and moved to now; None where this moment was evaluated. Its `resumed_at` shows pauses of our own."""
    EvaluationMark.objects.get_or_create(name=MARK, defaults={"until": now - timedelta(days=1), "resumed_at": now})
    mark = EvaluationMark.objects.select_for_update().get(name=MARK)
    if now <= mark.until:
        return None
    if now - mark.until > OUTAGE:
        mark.resumed_at = now
    mark.until = now
    mark.save(update_fields=["until", "resumed_at"])
    return mark


def rules_load() -> list[Rule]:
    """Enabled metric rules; those we ship are made where they are missing."""
    if rules_ship(set(Rule.objects.filter(shipped=True).values_list("name", flat=True))):
        return rules_load()
    return list(Rule.objects.filter(enabled=True, kind=RuleKind.METRIC))


def observe(
    rules: Sequence[Rule], subjects: Mapping[str, list[Subject]], readings: Readings, *, opened: Iterable[Alert]
) -> Iterable[Observation]:
    """What matters: all that is true, and what has an open alert. Nothing is the answer for most, so only values are made for them."""
    watched = defaultdict[str, list[Alert]](list)
    for alert in opened:
        watched[alert.rule_name].append(alert)
    places = {entity: places_of(subjects[entity]) for entity in {rule.entity for rule in rules if rule.name in watched}}
    for rule in rules:
        own = subjects[rule.entity]
        signal = signal_find(rule.entity, rule.signal)
        values = signal.values(readings, rule) if signal and own else None
        chosen = set() if values is None else set(np.flatnonzero(exceeds(rule, values)).tolist())
        for alert in watched.get(rule.name, ()):
            place = places[rule.entity].get(labels_key(alert.labels))
            chosen |= set() if place is None else {place}
        for place in sorted(chosen):
            subject, value = own[place], np.nan if values is None else float(values[place])
            if means(rule, subject):
                seen = Seen.ERROR if signal is None else seen_of(rule, value)
                yield Observation(rule, subject, identity_of(rule.name, subject.labels), seen, None if math.isnan(value) else value)


def places_of(subjects: Sequence[Subject]) -> dict[Key, int]:
    return {labels_key(subject.labels): place for place, subject in enumerate(subjects)}


def labels_key(labels: Mapping[str, str]) -> Key:
    return tuple(sorted(labels.items()))


def means(rule: Rule, subject: Subject) -> bool:
    """Whether the rule is about this subject at all."""
    return (rule.team_id is None or subject.team_id == rule.team_id) and labels_match(subject.labels, rule.matchers)


def exceeds(rule: Rule, values: Floats) -> NDArray[np.bool_]:
    """Where the condition is true; NaN is not."""
    found: NDArray[np.bool_] = values > rule.threshold if rule.comparison == Comparison.ABOVE else values < rule.threshold
    return found


def seen_of(rule: Rule, value: float) -> Seen:
    if math.isnan(value):
        return Seen.NO_DATA
    return Seen.TRUE if exceeds(rule, np.array(value)) else Seen.FALSE


def changes_of(opened: Mapping[str, Alert], seen: Mapping[str, Observation], *, now: datetime) -> list[Change]:
    """The next step of every open alert; one whose rule or subject is gone ends."""
    changes = []
    for identity, alert in opened.items():
        found, life = seen.get(identity), life_of(alert)
        if found is None:
            changes.append(Change(alert, life.state, life_end(life, now=now.timestamp()), "its rule or subject is gone"))
            continue
        noted = value_put(alert, found.value, comparison=found.rule.comparison)
        step = life_step(life, found.seen, now=now.timestamp(), timing=timing_of(found.rule))
        changes.append(Change(alert, life.state, step, noted=noted))
    return changes


def begin(opened: Mapping[str, Alert], seen: Mapping[str, Observation], *, now: datetime) -> list[Change]:
    new = [found for identity, found in seen.items() if found.seen is Seen.TRUE and identity not in opened]
    toggles = toggles_before([found.identity for found in new], now=now)
    changes = []
    for found in new:
        alert = alert_copy(found.rule, found.subject.labels, now=now)
        alert.deployment_id, alert.team_id = found.subject.deployment_id, found.subject.team_id or found.rule.team_id
        value_put(alert, found.value, comparison=found.rule.comparison)
        life = life_begin(now.timestamp(), toggles=toggles.get(found.identity, ()))
        changes.append(Change(alert, State.OK, life_step(life, Seen.TRUE, now=now.timestamp(), timing=timing_of(found.rule))))
    return changes


def timing_of(rule: Rule) -> Timing:
    return Timing(rule.for_seconds, rule.keep_firing_seconds)


def flags_put(changes: Iterable[Change], seen: Mapping[str, Observation], *, silences: Sequence[Silence], now: datetime) -> None:
    """Who is silenced, and what mutes whom: a source or agent that is away, and the graver alert of the same family."""
    open_changes = [change for change in changes if change.step.life.state not in OVER]
    gravest: dict[tuple[str, str], tuple[int, str]] = {}
    for change in open_changes:
        found = seen[change.alert.identity]
        if change.step.life.fired and found.rule.family:
            key = (found.rule.family, identity_of(found.rule.family, found.subject.labels))
            gravest[key] = max(gravest.get(key, (-1, "")), (rank(change.alert), found.rule.name))
    for change in open_changes:
        alert, found = change.alert, seen[change.alert.identity]
        grave, name = gravest.get((found.rule.family, identity_of(found.rule.family, found.subject.labels)), (-1, ""))
        muted = found.subject.muted_by or (f"{name} fires" if grave > rank(alert) else "")
        silence = silence_of(alert, silences, now=now)
        change.noted |= (alert.inhibited_by, alert.silenced_by_id) != (muted, silence.pk if silence else None)
        alert.inhibited_by, alert.silenced_by = muted[:200], silence


def rank(alert: Alert) -> int:
    return RANK[Severity(alert.severity)]
