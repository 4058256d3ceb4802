"""What a scenario, a planned event and the settings of a plan may be: checks and changes, the same for pages and API.

All raise ScenarioError with a sentence by field. Whoever calls has decided who may, and writes the audit trail. What rests on a change is
planned next.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from capacity.analysis.fields import FieldError, Reader
from capacity.analysis.plan_due import plan_due, scenario_due
from capacity.models import PlannedEvent, PlannedKind, PlanSettings, Scenario, Scope
from monitoring.models import Cluster, Deployment, Team

MOST_SCENARIOS, MOST_EVENTS, MOST_MEMBERS = 50, 50, 200
MOST_DAYS = 400
MOST_REPLICAS, MOST_SLOTS, MOST_RATE = 10_000, 100_000, 1_000_000
MOST_FACTOR = 1000
LEAST_GROWTH, MOST_GROWTH = -0.95, 10.0  # a month, as a ratio
LONGEST_SLO, LONGEST_STARTUP = 3600.0, 86_400.0
LONGEST_LEAD, LONGEST_APPROVAL = 730.0, 365.0
SLOWEST, FASTEST = 0.01, 100.0
DEAREST, DECIMALS = Decimal(100_000), 6

SCENARIO_FIELDS = (
    *("name", "horizon_days", "growth_per_month", "replicas", "by_hour", "slo_threshold_seconds", "startup_seconds"),
    *("lead_time_days", "approval_days", "speed_ratio", "hardware", "hourly_rate", "note"),
)
EVENT_FIELDS = ("kind", "name", "start_at", "end_at", "factor", "added_requests_per_second")
SETTINGS_FIELDS = ("lead_time_days", "approval_days", "startup_seconds", "slots", "least_replicas", "most_replicas")


class ScenarioError(FieldError):
    """What is wrong with a scenario, an event or the settings, a sentence by field; "" for what concerns several."""


@dataclass(frozen=True)
class Subject:
    """What a scenario is about: one deployment, one cluster, or the members of a group."""

    deployment: Deployment | None = None
    cluster: Cluster | None = None
    members: Sequence[Deployment] = ()

    @property
    def scope(self) -> Scope:
        return Scope.DEPLOYMENT if self.deployment else Scope.CLUSTER if self.cluster else Scope.GROUP

    @property
    def team(self) -> Team | None:
        """Whose group it is: the team of all members, where it is one."""
        teams = {member.team_id for member in self.members}
        return self.members[0].team if len(teams) == 1 else None

    def scenarios(self) -> QuerySet[Scenario]:
        """Those beside which a new one stands."""
        rows = Scenario.objects.filter(scope=self.scope)
        if self.scope == Scope.GROUP:
            return rows.filter(team=self.team)
        return rows.filter(deployment=self.deployment) if self.deployment else rows.filter(cluster=self.cluster)

    def lock(self) -> None:
        """So that two at once are counted and named one after the other. Of a group: its first member stands for all."""
        if self.cluster:
            Cluster.objects.select_for_update().get(pk=self.cluster.pk)
        elif first := self.deployment or (self.members[0] if self.members else None):
            Deployment.objects.select_for_update(of=("self",)).get(pk=first.pk)


def subject_of(scenario: Scenario) -> Subject:
    if scenario.scope == Scope.GROUP:
        return Subject(members=list(scenario.members.select_related("team").order_by("name", "pk")))
    return Subject(deployment=scenario.deployment, cluster=scenario.cluster)


def scenario_values(fields: Mapping[str, Any], *, scenario: Scenario | None = None) -> Scenario:
    """The scenario as it would be, not saved: what a what-if computes. Fields not given stay as `scenario` has them."""
    made, read = scenario_read(fields, scenario=scenario)
    if read.problems:
        raise ScenarioError(read.problems)
    return made


def scenario_read(fields: Mapping[str, Any], *, scenario: Scenario | None) -> tuple[Scenario, Reader]:
    known = scenario or Scenario()
    read = Reader({name: getattr(known, name) for name in SCENARIO_FIELDS} | dict(fields))
    for name in fields:
        if name not in SCENARIO_FIELDS:
            read.wrong(name, f"A scenario has no {name}; it has {', '.join(SCENARIO_FIELDS)}.")
    made = Scenario(**{field.attname: getattr(known, field.attname) for field in Scenario._meta.concrete_fields})
    made._state.adding = known._state.adding
    made.name = read.text("name", most=120)
    made.note, made.hardware = read.text("note", most=400), read.text("hardware", most=120)
    made.horizon_days = read.whole("horizon_days", least=1, most=MOST_DAYS, unit="days") or 90
    made.growth_per_month = read.number("growth_per_month", least=LEAST_GROWTH, most=MOST_GROWTH)
    made.replicas = read.whole("replicas", least=1, most=MOST_REPLICAS)
    made.by_hour = read.flag("by_hour")
    made.slo_threshold_seconds = read.number("slo_threshold_seconds", least=0, most=LONGEST_SLO, unit="seconds", above=True)
    made.startup_seconds = read.number("startup_seconds", least=0, most=LONGEST_STARTUP, unit="seconds")
    made.lead_time_days = read.number("lead_time_days", least=0, most=LONGEST_LEAD, unit="days")
    made.approval_days = read.number("approval_days", least=0, most=LONGEST_APPROVAL, unit="days")
    made.speed_ratio = read.number("speed_ratio", least=SLOWEST, most=FASTEST) or 1.0
    made.hourly_rate = read.money("hourly_rate", most=DEAREST, decimals=DECIMALS)
    if made.by_hour and made.replicas is not None:
        read.wrong("replicas", f"A floor by hour has no fixed number: leave replicas empty, got {made.replicas}, or take by_hour away.")
    return made, read


def scenario_create(subject: Subject, fields: Mapping[str, Any], *, by: str, now: datetime) -> Scenario:
    made, read = scenario_read(fields, scenario=None)
    made.scope, made.deployment, made.cluster, made.team = subject.scope, subject.deployment, subject.cluster, subject.team
    made.created_by, made.created_at, made.updated_at = by[:254], now, now
    members_check(subject, read)
    with transaction.atomic():
        subject.lock()
        name_check(made, subject, read)
        if subject.scenarios().count() >= MOST_SCENARIOS:
            read.wrong("", f"There are {MOST_SCENARIOS} scenarios already, which is the most. Delete one first.")
        if read.problems:
            raise ScenarioError(read.problems)
        made.save(force_insert=True)
        made.members.set(subject.members)
        scenario_due(made, now=now)
    return made


def scenario_change(
    scenario: Scenario, fields: Mapping[str, Any], *, members: Sequence[Deployment] | None = None, by: str, now: datetime
) -> Scenario:
    """Change what is given; `members` only of a group, as a whole."""
    made, read = scenario_read(fields, scenario=scenario)
    subject = subject_of(scenario) if members is None else Subject(members=members)
    if members is not None and scenario.scope != Scope.GROUP:
        read.wrong("members", f"Only a group has members; this one is about {Scope(scenario.scope).label.lower()}.")
    elif members is not None:
        made.team = subject.team
        members_check(subject, read)
    made.updated_at = now
    with transaction.atomic():
        subject.lock()
        name_check(made, subject, read)
        if read.problems:
            raise ScenarioError(read.problems)
        made.save(update_fields=(*SCENARIO_FIELDS, "team", "updated_at"))
        if members is not None:
            made.members.set(members)
        scenario_due(made, now=now)
    return made


def members_check(subject: Subject, read: Reader) -> None:
    if subject.scope == Scope.GROUP and not 1 <= len(subject.members) <= MOST_MEMBERS:
        read.wrong("members", f"A group has 1 to {MOST_MEMBERS} deployments, got {len(subject.members)}.")


def name_check(made: Scenario, subject: Subject, read: Reader) -> None:
    if not made.name:
        read.wrong("name", "Enter a name, e.g. Launch in December.")
    elif subject.scenarios().filter(name__iexact=made.name).exclude(pk=made.pk).exists():
        read.wrong("name", f"There is a scenario called {made.name} already. Choose another name.")


def scenario_clone(scenario: Scenario, *, name: str = "", by: str, now: datetime) -> Scenario:
    """A copy beside it with its events; not chosen, and named after it where no name is given."""
    subject = subject_of(scenario)
    fields = {field: getattr(scenario, field) for field in SCENARIO_FIELDS}
    with transaction.atomic():
        subject.lock()
        fields["name"] = name.strip() or copy_name(scenario.name, taken=subject.scenarios().values_list("name", flat=True))
        copy = scenario_create(subject, fields, by=by, now=now)
        events = [
            PlannedEvent(scenario=copy, set_by=by[:254], created_at=now, **{field: getattr(event, field) for field in EVENT_FIELDS})
            for event in scenario.planned_events.all()
        ]
        PlannedEvent.objects.bulk_create(events)
    return copy


def copy_name(name: str, *, taken: "QuerySet[Scenario, str]") -> str:
    names = {each.lower() for each in taken}
    tries = (f"{name[:105]} copy{f' {n}' if n > 1 else ''}" for n in range(1, MOST_SCENARIOS + 2))
    return next(each for each in tries if each.lower() not in names)


def scenario_delete(scenario: Scenario) -> None:
    """Its events and its plan go with it."""
    scenario.delete()


def scenario_choose(scenario: Scenario, *, chosen: bool = True, now: datetime) -> Scenario:
    """The one that counts among those of its deployment or cluster: the one before is chosen no longer."""
    subject = subject_of(scenario)
    with transaction.atomic():
        subject.lock()
        if chosen and subject.scope != Scope.GROUP:
            subject.scenarios().exclude(pk=scenario.pk).filter(chosen=True).update(chosen=False, updated_at=now)
        scenario.chosen, scenario.updated_at = chosen, now
        scenario.save(update_fields=("chosen", "updated_at"))
    return scenario


def event_values(fields: Mapping[str, Any], *, event: PlannedEvent | None = None, now: datetime) -> PlannedEvent:
    """The event as it would be, not saved and of nothing yet where it is new."""
    known = event or PlannedEvent()
    # `created_at` and the like stay; a new event's start has no default, so it is asked for.
    read = Reader({name: getattr(known, name, None) for name in EVENT_FIELDS} | dict(fields))
    for name in fields:
        if name not in EVENT_FIELDS:
            read.wrong(name, f"An event has no {name}; it has {', '.join(EVENT_FIELDS)}.")
    made = PlannedEvent(**{field.attname: getattr(known, field.attname) for field in PlannedEvent._meta.concrete_fields})
    made._state.adding = known._state.adding
    made.kind = read.choice("kind", dict(PlannedKind.choices))
    made.name = read.text("name", most=120, needed="Enter a name, e.g. Nordwind launch.")
    made.factor = read.number("factor", least=0, most=MOST_FACTOR)
    made.added_requests_per_second = read.number("added_requests_per_second", least=0, most=MOST_RATE, unit="requests per second") or 0.0
    start = read.moment("start_at", needed="Enter when it begins, e.g. 2026-12-08T09:00.")
    made.end_at = read.moment("end_at")
    if start is not None and "end_at" not in read.problems:
        made.start_at = start
        times_check(made, read, now=now)
    effect_check(made, read)
    if read.problems:
        raise ScenarioError(read.problems)
    return made


def times_check(made: PlannedEvent, read: Reader, *, now: datetime) -> None:
    reach = timedelta(days=MOST_DAYS)
    if made.end_at is None and made.kind == PlannedKind.HOLIDAY:
        made.end_at = made.start_at + timedelta(days=1)
    if made.end_at is None and made.kind == PlannedKind.MAINTENANCE:
        read.wrong("end_at", "A maintenance ends: enter when, e.g. two hours after it begins.")
    elif made.end_at is not None and made.end_at <= made.start_at:
        read.wrong("end_at", f"It must end after it begins ({minute(made.start_at)}), got {minute(made.end_at)}.")
    elif made.end_at is not None and made.end_at <= now:
        read.wrong("end_at", f"It is over since {minute(made.end_at)}. A planned event lies ahead: what came is in the history already.")
    elif made.start_at > now + reach:
        read.wrong("start_at", f"It begins on {minute(made.start_at)}; plans look {MOST_DAYS} days ahead.")
    elif made.start_at < now - reach:
        read.wrong(
            "start_at", f"It began on {minute(made.start_at)}, over {MOST_DAYS} days ago: what it changed is in the history already."
        )


def effect_check(made: PlannedEvent, read: Reader) -> None:
    """A holiday without a factor is learned from Sundays; a maintenance without one means that nothing comes."""
    if made.kind == PlannedKind.MAINTENANCE and made.factor is None:
        made.factor = 0.0
    idle = (made.factor is None or made.factor == 1.0) and not made.added_requests_per_second
    judged = made.kind in (PlannedKind.LAUNCH, PlannedKind.CUSTOMER) and not {"factor", "added_requests_per_second"} & set(read.problems)
    if idle and judged:
        read.wrong("factor", "It would change nothing: give a factor, e.g. 3 for three times the traffic, or requests per second to add.")


def minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M %Z}".strip()


def event_create(owner: Deployment | Scenario, fields: Mapping[str, Any], *, by: str, now: datetime) -> PlannedEvent:
    """Of a deployment it counts in every scenario of it; of a scenario in that one only."""
    made = event_values(fields, now=now)
    made.set_by, made.created_at = by[:254], now
    if isinstance(owner, Scenario):
        made.scenario = owner
    else:
        made.deployment = owner
    with transaction.atomic():
        type(owner)._default_manager.select_for_update(of=("self",)).get(pk=owner.pk)  # two at once are counted one after the other
        if owner.planned_events.count() >= MOST_EVENTS:
            raise ScenarioError({"": f"There are {MOST_EVENTS} planned events already, which is the most. Delete one first."})
        made.save(force_insert=True)
        touched(made, now=now)
    return made


def event_change(event: PlannedEvent, fields: Mapping[str, Any], *, by: str, now: datetime) -> PlannedEvent:
    made = event_values(fields, event=event, now=now)
    made.set_by = by[:254]
    with transaction.atomic():
        made.save(update_fields=(*EVENT_FIELDS, "set_by"))
        touched(made, now=now)
    return made


def event_delete(event: PlannedEvent, *, now: datetime) -> None:
    with transaction.atomic():
        touched(event, now=now)
        event.delete()


def touched(event: PlannedEvent, *, now: datetime) -> None:
    """What rests on it is older than its assumptions now, and made next."""
    if event.scenario is not None:
        Scenario.objects.filter(pk=event.scenario.pk).update(updated_at=now)
        scenario_due(event.scenario, now=now)
    elif event.deployment is not None:
        plan_due(event.deployment, now=now)


def settings_change(deployment: Deployment, fields: Mapping[str, Any], *, by: str, now: datetime) -> PlanSettings:
    """Change what is given; null gives it back to the estimate or the install's default."""
    with transaction.atomic():
        Deployment.objects.select_for_update(of=("self",)).get(pk=deployment.pk)
        row = PlanSettings.objects.filter(deployment=deployment).first() or PlanSettings(deployment=deployment)
        read = Reader({name: getattr(row, name) for name in SETTINGS_FIELDS} | dict(fields))
        for name in fields:
            if name not in SETTINGS_FIELDS:
                read.wrong(name, f"There is no setting {name}; there are {', '.join(SETTINGS_FIELDS)}.")
        settings_read(row, read)
        if read.problems:
            raise ScenarioError(read.problems)
        row.set_by, row.updated_at = by[:254], now
        row.save()
        plan_due(deployment, now=now)
    return row


def settings_read(row: PlanSettings, read: Reader) -> None:
    row.lead_time_days = read.number("lead_time_days", least=0, most=LONGEST_LEAD, unit="days")
    row.approval_days = read.number("approval_days", least=0, most=LONGEST_APPROVAL, unit="days")
    row.startup_seconds = read.number("startup_seconds", least=0, most=LONGEST_STARTUP, unit="seconds")
    row.slots = read.whole("slots", least=1, most=MOST_SLOTS, unit="requests")
    row.least_replicas = read.whole("least_replicas", least=0, most=MOST_REPLICAS)
    row.most_replicas = read.whole("most_replicas", least=1, most=MOST_REPLICAS)
    least, most = row.least_replicas, row.most_replicas
    if least is not None and most is not None and least > most:
        read.wrong("most_replicas", f"The most must be at least the least ({least}), got {most}.")
