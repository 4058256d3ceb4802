"""Rules as YAML, so that an install can be reproduced: written whole, read rule by rule; a bad one loses nothing of the others."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml
from django.db import transaction

from monitoring.alerts.rules import RuleError, rule_fields, rule_make, rule_save
from monitoring.models import Rule, RuleKind, Team

TEXT_MOST = 500_000  # characters
RULES_MOST = 1000
HEAD = "# Alert rules of Headroom. Import changes rules of the same name and makes the others; it deletes none.\n"
NEVER_LEFT_OUT = ("name", "signal", "threshold", "summary")


@dataclass(frozen=True)
class Imported:
    """Names of rules; problems: rule (its name, or its place) -> one sentence a mistake."""

    made: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    problems: dict[str, tuple[str, ...]]


def rules_export(rules: Iterable[Rule]) -> str:
    """What is as a new rule has it is left out. Rules that analyses raise are not written: they have no threshold."""
    plain = rule_fields(Rule())
    written = [
        {name: value for name, value in rule_fields(rule).items() if name in NEVER_LEFT_OUT or value != plain[name]}
        for rule in sorted(rules, key=lambda rule: rule.name)
        if rule.kind == RuleKind.METRIC
    ]
    return HEAD + yaml.safe_dump({"rules": written}, sort_keys=False, allow_unicode=True, width=140)


def rules_import(text: str, *, team: Team | None, by: str, now: datetime, write: bool) -> Imported:
    """Make and change rules of `team` (None: of the install). Without `write` it only says what would be done.

    Fields that are left out of a rule are as a new rule has them, of a shipped one too.
    """
    problems = dict[str, tuple[str, ...]]()
    try:
        given = rules_read(text)
    except ValueError as problem:
        return Imported((), (), (), {"": (str(problem),)})
    known = {rule.name: rule for rule in Rule.objects.filter(name__in=[str(fields.get("name", "")) for _, fields in given])}
    made, changed, unchanged, seen = list[str](), list[str](), list[str](), set[str]()
    for place, fields in given:
        name = str(fields.get("name") or place)
        if name in seen:
            problems[place] = (f"The rule {name} stands in the text twice; the first counts.",)
            continue
        seen.add(name)
        rule = known.get(name)
        try:
            own_only(rule, team)
            wanted = rule_make(plain_of(rule) | fields, team=team, rule=rule)
            if rule is not None and rule_fields(rule) == rule_fields(wanted):
                unchanged.append(name)
                continue
            if write:
                with transaction.atomic():
                    rule_save(wanted, by=by, now=now)
            (made if rule is None else changed).append(name)
        except RuleError as problem:
            problems[name] = tuple(f"{field}: {sentence}" if field else sentence for field, sentence in problem.problems.items())
    return Imported(tuple(made), tuple(changed), tuple(unchanged), problems)


def plain_of(rule: Rule | None) -> dict[str, Any]:
    """What a rule in the text need not say. Of one that is there its name stays."""
    return {} if rule is None else rule_fields(Rule()) | {"name": rule.name}


def own_only(rule: Rule | None, team: Team | None) -> None:
    """A team changes its own rules, an admin those of the install."""
    if rule is not None and rule.team_id != (team.pk if team else None):
        raise RuleError({"name": f"There is a rule {rule.name} already that belongs to others; choose another name."})
    if rule is not None and rule.kind != RuleKind.METRIC:
        raise RuleError({"name": f"The rule {rule.name} is raised by an analysis; it can be switched on and off only."})


def rules_read(text: str) -> list[tuple[str, dict[str, object]]]:
    """(its place in words, its fields) of each rule; ValueError with a sentence where the whole cannot be read."""
    if len(text) > TEXT_MOST:
        raise ValueError(f"The text has {len(text)} characters; at most {TEXT_MOST} are read. Split it.")
    try:
        read = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as problem:  # ValueError: a date that is none
        mark = getattr(problem, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"This is not YAML{where}: {getattr(problem, 'problem', None) or 'it cannot be read'}.") from problem
    rules = read.get("rules") if isinstance(read, dict) else None
    if not isinstance(rules, list):
        raise ValueError("A list of rules is needed under the word `rules:`, as the export writes it.")
    if len(rules) > RULES_MOST:
        raise ValueError(f"The text has {len(rules)} rules; at most {RULES_MOST} are read at once. Split it.")
    places = [f"rule {number}" for number in range(1, len(rules) + 1)]
    return [(place, fields_read(fields)) for place, fields in zip(places, rules, strict=True)]


def fields_read(fields: object) -> dict[str, object]:
    """A rule that is no mapping has no fields, so that the check asks for its name; values of a wrong shape go on as text."""
    if not isinstance(fields, dict):
        return {}
    shapes = (str, int, float, bool)
    return {str(name): value if isinstance(value, shapes) or name == "matchers" else str(value) for name, value in fields.items()}
