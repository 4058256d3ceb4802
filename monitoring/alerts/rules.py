"""Rules as people make them: what may be asked, the check with a sentence for each mistake, saving, switching, deleting."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.db import IntegrityError, transaction

from monitoring.access import audit
from monitoring.alerts.lifecycle import life_end
from monitoring.alerts.matching import matchers_read
from monitoring.alerts.record import Change, changes_write, life_of
from monitoring.alerts.signals import NAMED, SHORT, signal_find
from monitoring.alerts.subjects import LABELS
from monitoring.catalog.columns import COLUMNS, RATIOS
from monitoring.models import Alert, Channel, Comparison, EvaluationMark, Rule, RuleEntity, RuleKind, Severity, Team

DAY = 86400
WINDOWS = (60, 7 * DAY)
BURN_LEAST = SHORT * 300  # its short window holds five minutes of judged ones
WAITS = (0, 7 * DAY)
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")
# What a person writes of a rule, in the order of the form and of the YAML.
WRITTEN = (
    *("name", "entity", "matchers", "signal", "comparison", "threshold", "window_seconds", "for_seconds", "keep_firing_seconds"),
    *("severity", "family", "owner", "summary", "consequence", "first_action", "runbook_url", "enabled"),
)
SHIPPED_STAYS = "Headroom ships this rule, so it cannot be deleted; switch it off instead."
SHIPPED_NAME = "A rule that Headroom ships keeps its name; make a rule of your own with another name."
FOUND_ELSEWHERE = "This rule is raised by an analysis, not by a threshold: it can be switched on and off only."
TEAM_ENTITY = "A team's rule is about its deployments; rules about {entity}s belong to the whole install, so ask an admin."


class RuleError(Exception):
    """A rule that cannot be: field -> one sentence with what was given, what is needed, what to do."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__(" ".join(problems.values()))
        self.problems = dict(problems)


@dataclass(frozen=True)
class SignalOffer:
    """Something a rule may compare with its threshold."""

    name: str
    entity: str
    unit: str
    meaning: str


def signals_offered() -> tuple[SignalOffer, ...]:
    """The named signals first, then every column and ratio of the catalogue, by entity."""
    offers = [SignalOffer(signal.name, signal.entity, signal.unit, signal.meaning) for signal in NAMED.values()]
    ratios = [SignalOffer(ratio.name, RuleEntity.DEPLOYMENT, ratio.unit, ratio.meaning) for ratio in RATIOS]
    columns = [
        SignalOffer(column.name, entity, column.unit, column.meaning)
        for entity, own in COLUMNS.items()
        if entity.value in RuleEntity.values
        for column in own
    ]
    return tuple(offers + ratios + columns)


def rule_make(fields: Mapping[str, object], *, team: Team | None, rule: Rule | None = None) -> Rule:
    """A checked rule, not saved: a new one, or `rule` with what `fields` change of it. Numbers may come as text, as a form sends them."""
    made = rule_copy(rule, team=team)
    if made.kind == RuleKind.FINDING and set(fields) - {"enabled"}:
        raise RuleError({"": FOUND_ELSEWHERE})
    problems = {name: f"A rule has no field {name!r}; it has {', '.join(WRITTEN)}." for name in fields if name not in WRITTEN}
    for name in WRITTEN:
        if name in fields:
            try:
                setattr(made, name, READERS[name](fields[name]))
            except ValueError as problem:
                problems[name] = str(problem)
    if made.kind == RuleKind.METRIC:
        problems = whole_problems(made, before=rule) | problems
    if problems:
        raise RuleError(problems)
    return made


def rule_copy(rule: Rule | None, *, team: Team | None) -> Rule:
    """One whose attributes may be set without a trace where the check then fails."""
    if rule is None:
        return Rule(team=team)
    copied = Rule(**{field.attname: getattr(rule, field.attname) for field in Rule._meta.concrete_fields})
    copied._state.adding, copied._state.db = rule._state.adding, rule._state.db
    return copied


def whole_problems(made: Rule, *, before: Rule | None) -> dict[str, str]:
    """What no field shows alone."""
    problems = {}
    if not made.name:
        problems["name"] = "Give the rule a name, such as queue-too-long."
    elif Rule.objects.filter(name=made.name).exclude(pk=made.pk).exists():
        problems["name"] = f"There is a rule {made.name} already; choose another name."
    if before is not None and before.shipped and made.name != before.name:
        problems["name"] = SHIPPED_NAME
    if not made.summary:
        problems["summary"] = "Say in one line what is wrong when it fires; it is the first line of every message."
    if made.team_id is not None and made.entity != RuleEntity.DEPLOYMENT:
        problems["entity"] = TEAM_ENTITY.format(entity=made.entity)
    unknown = sorted(set(made.matchers) - set(LABELS[made.entity]))
    if unknown:
        problems["matchers"] = f"A {made.entity} has no label {unknown[0]!r}; its labels are {', '.join(LABELS[made.entity])}."
    return problems | signal_problems(made)


def signal_problems(made: Rule) -> dict[str, str]:
    signal = signal_find(made.entity, made.signal)
    if signal is None:
        given = f"{made.signal!r} is no signal of a {made.entity}" if made.signal else "No signal is given"
        return {"signal": f"{given}; take one of the list, such as {example_of(made.entity)}."}
    if signal.unit == "ratio" and not 0 <= made.threshold <= 1:
        share = made.threshold / 100
        hint = f"; for {made.threshold:g} % write {share:g}" if 0 <= share <= 1 else ""
        return {"threshold": f"{made.signal} is a ratio from 0 to 1, and {made.threshold:g} was given{hint}."}
    if made.signal in ("slo_latency_burn", "slo_error_burn") and made.window_seconds < BURN_LEAST:
        return {"window_seconds": f"A burn rate needs a window of at least {BURN_LEAST} s, and {made.window_seconds} s was given."}
    if made.signal == "queue_growth" and made.window_seconds < 2 * WINDOWS[0]:
        return {"window_seconds": f"Growth needs a window of at least {2 * WINDOWS[0]} s, and {made.window_seconds} s was given."}
    return {}


def example_of(entity: str) -> str:
    return next(offer.name for offer in signals_offered() if offer.entity == entity)


def text_of(most: int) -> Callable[[object], str]:
    def read(given: object) -> str:
        text = str(given if given is not None else "").strip()
        if len(text) > most:
            raise ValueError(f"This may have {most} characters at most, and {len(text)} were given.")
        return text

    return read


def name_of(given: object) -> str:
    text = str(given).strip()
    if not NAME.fullmatch(text):
        raise ValueError(f"A name has small letters, digits, - and _, at most 80, such as queue-too-long; {text[:80]!r} was given.")
    return text


def choice_of(values: list[str]) -> Callable[[object], str]:
    def read(given: object) -> str:
        if str(given) not in values:
            raise ValueError(f"It is one of {', '.join(values)}; {str(given)[:80]!r} was given.")
        return str(given)

    return read


def threshold_of(given: object) -> float:
    try:
        number = float(str(given).strip())
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"A threshold is a number, such as 0.95 or 20; {str(given)[:80]!r} was given.")
    return number


def seconds_of(least: int, most: int) -> Callable[[object], int]:
    def read(given: object) -> int:
        text = str(given).strip()
        if not (text.isascii() and text.isdigit()) or not least <= int(text[:12]) <= most:
            raise ValueError(f"It is a whole number of seconds from {least} to {most}; {text[:80]!r} was given.")
        return int(text)

    return read


def url_of(given: object) -> str:
    text = text_of(500)(given)
    try:
        fine = not text or (urlsplit(text).scheme in ("http", "https") and bool(urlsplit(text).hostname))
    except ValueError:
        fine = False
    if not fine:
        raise ValueError(f"A runbook is an address with http or https, such as https://wiki.example.com/queue; {text[:80]!r} was given.")
    return text


def switch_of(given: object) -> bool:
    if isinstance(given, bool):
        return given
    known = {"true": True, "on": True, "1": True, "yes": True, "false": False, "off": False, "0": False, "no": False, "": False}
    if str(given).lower() not in known:
        raise ValueError(f"It is true or false; {str(given)[:80]!r} was given.")
    return known[str(given).lower()]


READERS: dict[str, Callable[[object], object]] = {
    "name": name_of,
    "entity": choice_of(RuleEntity.values),
    "matchers": matchers_read,
    "signal": text_of(60),
    "comparison": choice_of(Comparison.values),
    "threshold": threshold_of,
    "window_seconds": seconds_of(*WINDOWS),
    "for_seconds": seconds_of(*WAITS),
    "keep_firing_seconds": seconds_of(*WAITS),
    "severity": choice_of(Severity.values),
    "family": text_of(80),
    "owner": text_of(120),
    "summary": text_of(300),
    "consequence": text_of(500),
    "first_action": text_of(500),
    "runbook_url": url_of,
    "enabled": switch_of,
}


def rule_fields(rule: Rule) -> dict[str, Any]:
    """What a person wrote of it."""
    return {name: getattr(rule, name) for name in WRITTEN}


def rule_save(rule: Rule, *, by: str, now: datetime) -> Rule:
    """A new rule or a changed one. Open alerts of a rule that is renamed or switched off end."""
    with transaction.atomic():
        round_wait()
        before = Rule.objects.select_for_update().filter(pk=rule.pk).first() if rule.pk else None
        try:
            with transaction.atomic():
                rule.save()
        except IntegrityError as problem:  # somebody took the name at the same moment
            raise RuleError({"name": f"There is a rule {rule.name} already; choose another name."}) from problem
        told = rule_fields(before) if before else {}
        if before is not None and (before.name != rule.name or (before.enabled and not rule.enabled)):
            alerts_end(rule, note=f"its rule was {'renamed' if before.name != rule.name else 'switched off'} by {by}", now=now)
        changed = {name: value for name, value in rule_fields(rule).items() if not told or told[name] != value}
        if changed:
            kept = {name: told[name] for name in changed if name in told}
            audit(by, "alert_rule.change" if before else "alert_rule.create", f"rule {rule.name}", before=kept, after=changed)
    return rule


def rule_switch(rule: Rule, enabled: bool, *, by: str, now: datetime) -> Rule:
    rule.enabled = enabled
    return rule_save(rule, by=by, now=now)


def rule_delete(rule: Rule, *, by: str, now: datetime) -> None:
    """Its open alerts end, and their end is told; alerts that were stay."""
    if rule.shipped:
        raise RuleError({"": SHIPPED_STAYS})
    with transaction.atomic():
        round_wait()
        alerts_end(rule, note=f"its rule was deleted by {by}", now=now)
        audit(by, "alert_rule.delete", f"rule {rule.name}", before=rule_fields(rule))
        rule.delete()


def round_wait() -> None:
    """Until a round that goes on with the rules as they were has ended; the next one waits for us."""
    EvaluationMark.objects.select_for_update().filter(name="rules").first()


def alerts_end(rule: Rule, *, note: str, now: datetime) -> None:
    opened = list(Alert.objects.open().filter(rule=rule).select_for_update(no_key=True))
    changes = [Change(alert, life_of(alert).state, life_end(life_of(alert), now=now.timestamp()), note) for alert in opened]
    changes_write(changes, channels=list(Channel.objects.filter(enabled=True)), now=now)
