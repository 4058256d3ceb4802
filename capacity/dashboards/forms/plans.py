"""The forms of plans: what if, a planned event, settings, a group. What may stand in them is checked where the API checks it too."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django import forms

from capacity.analysis.scenarios import ScenarioError, event_values, scenario_values
from capacity.models import PlannedEvent, PlannedKind, PlanSettings, Scenario

LEAST_GROWTH, MOST_GROWTH = -95.0, 1000.0  # percent a month
MOST_STARTUP = 1440.0  # minutes
DATETIME = "%Y-%m-%dT%H:%M"
# name in the address and the form -> (field of the scenario, how many of the shown unit are one of the stored)
ASSUMED: dict[str, tuple[str, float]] = {
    "horizon": ("horizon_days", 1.0),
    "growth": ("growth_per_month", 100.0),
    "replicas": ("replicas", 1.0),
    "by_hour": ("by_hour", 1.0),
    "slo": ("slo_threshold_seconds", 1.0),
    "startup": ("startup_seconds", 1 / 60),
    "lead": ("lead_time_days", 1.0),
    "approval": ("approval_days", 1.0),
    "speed": ("speed_ratio", 1.0),
    "hardware": ("hardware", 1.0),
    "rate": ("hourly_rate", 1.0),
}
NAMES = {field: name for name, (field, _) in ASSUMED.items()}
TEXTS = ("hardware",)


def number_field(label: str, *, hint: str = "") -> forms.CharField:
    """Text with the keyboard of numbers: the checks have the better sentence than a browser."""
    widget = forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"})
    return forms.CharField(label=label, required=False, widget=widget, help_text=hint, max_length=40)


class WhatIfForm(forms.Form):
    """Assumptions as the address carries them. Empty: as it is, or as the scenario has it."""

    growth = number_field("Growth, % a month", hint="Empty: the trend found.")
    replicas = number_field("Replicas", hint="Empty: as many as run now.")
    by_hour = forms.BooleanField(label="A floor by hour instead of a fixed number", required=False)
    slo = number_field("SLO, s")
    startup = number_field("Start of a replica, min")
    lead = number_field("Lead time, days")
    approval = number_field("Approval, days")
    speed = number_field("Speed of a replica, × today's", hint="For other hardware, e.g. 1.7.")
    hardware = forms.CharField(label="Hardware", required=False, max_length=120, help_text="E.g. H200.")
    rate = number_field("Price of a replica an hour")
    horizon = forms.CharField(required=False, widget=forms.HiddenInput)

    FIRST = ("growth", "replicas", "by_hour")
    OF_ONE = ("replicas", "by_hour", "slo", "startup", "rate")  # what a group's plan does not ask its members to have in common

    def __init__(self, *args: Any, scenario: Scenario | None = None, unit: str = "replicas", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.auto_id = "assume_%s"
        self.scenario, self.made = scenario, None
        self.more_words = "SLO, start, lead time, hardware" if unit == "replicas" else "Lead time, hardware"
        for name in self.OF_ONE if unit != "replicas" else ():
            del self.fields[name]

    made: Scenario | None

    @property
    def first_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.FIRST if name in self.fields]

    @property
    def more_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if name not in (*self.FIRST, "horizon")]

    @property
    def more_given(self) -> bool:
        return any(self.data.get(field.name) for field in self.more_fields)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        bounds_check(self, cleaned)
        try:
            self.made = scenario_values(scenario_fields(cleaned), scenario=self.scenario)
        except ScenarioError as error:
            for field, sentence in error.problems.items():
                name = NAMES.get(field, "")
                self.add_error(name if name in self.fields and not self.errors.get(name) else None, sentence)
        return cleaned


def bounds_check(form: forms.Form, cleaned: Mapping[str, Any]) -> None:
    """Of what is shown in another unit than it is stored in, so that the sentence has the unit of the field."""
    for name, least, most, unit in (("growth", LEAST_GROWTH, MOST_GROWTH, "% a month"), ("startup", 0.0, MOST_STARTUP, "min")):
        value = number_of(cleaned.get(name, ""))
        if value is not None and not least <= value <= most:
            form.add_error(name, f"It must be from {least:g} to {most:,.0f} {unit}, got {cleaned[name]}.")


def scenario_fields(cleaned: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, by the scenario's own names and units; a text that is no number goes on as it is and is refused there."""
    fields: dict[str, Any] = {}
    for name, (field, scale) in ASSUMED.items():
        given = cleaned.get(name)
        if given in (None, "", False):
            continue
        value = number_of(given) if name not in (*TEXTS, "by_hour") and scale != 1.0 else None
        fields[field] = value / scale if value is not None else given
    if fields.get("by_hour") and "replicas" not in fields:
        fields["replicas"] = None
    if "replicas" in fields and fields["replicas"] is not None and "by_hour" not in fields:
        fields["by_hour"] = False
    return fields


def number_of(text: Any) -> float | None:
    try:
        return float(str(text).strip())
    except ValueError:
        return None


def assumed_words(scenario: Scenario) -> dict[str, str]:
    """The other way round: what a saved scenario assumes, as the address would carry it."""
    found = {}
    for name, (field, scale) in ASSUMED.items():
        value = getattr(scenario, field)
        if value in (None, "", False) or (name == "speed" and value == 1.0) or name == "horizon":
            continue
        found[name] = "on" if value is True else str(value) if isinstance(value, str) else f"{float(value) * scale:.10g}"
    return found


# --- A planned event -------------------------------------------------------------------------------------------------------


class PlannedEventForm(forms.Form):
    kind = forms.ChoiceField(label="Kind", choices=PlannedKind.choices, initial=PlannedKind.LAUNCH)
    name = forms.CharField(label="Name", required=False, max_length=120, help_text="E.g. Nordwind launch.")
    start_at = forms.CharField(label="Begins (UTC)", required=False, widget=forms.TextInput(attrs={"type": "datetime-local"}))
    end_at = forms.CharField(
        label="Ends (UTC)", required=False, widget=forms.TextInput(attrs={"type": "datetime-local"}), help_text="Empty: from then on."
    )
    factor = number_field(
        "Times the traffic", hint="E.g. 3 for three times, 0.8 for a fifth less. Of a holiday empty: learned from Sundays."
    )
    added_requests_per_second = number_field("Requests per second to add", hint="E.g. 200 for a new customer.")
    for_all = forms.BooleanField(label="In every scenario of this deployment", required=False, initial=True)

    def __init__(self, *args: Any, event: PlannedEvent | None = None, now: datetime, of_scenario: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.auto_id = "planned_%s"
        self.event, self.now, self.made = event, now, None
        for name in ("name", "start_at"):
            self.fields[name].must = True  # type: ignore[attr-defined]
        if not of_scenario:
            del self.fields["for_all"]

    made: PlannedEvent | None

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        try:
            self.made = event_values(event_fields(cleaned), event=self.event, now=self.now)
        except ScenarioError as error:
            for field, sentence in error.problems.items():
                self.add_error(field if field in self.fields else None, sentence)
        return cleaned


def event_fields(cleaned: Mapping[str, Any]) -> dict[str, Any]:
    """Times of the form are UTC, as the days of a plan are."""
    given = {name: cleaned.get(name, "") for name in ("kind", "name", "factor", "added_requests_per_second")}
    return given | {name: utc_text(cleaned.get(name, "")) for name in ("start_at", "end_at")}


def utc_text(text: str) -> str:
    """A local time without a zone is UTC; what is no time goes on as it is."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()


def event_initial(event: PlannedEvent) -> dict[str, Any]:
    return {
        "kind": event.kind,
        "name": event.name,
        "start_at": event.start_at.astimezone(UTC).strftime(DATETIME),
        "end_at": event.end_at.astimezone(UTC).strftime(DATETIME) if event.end_at else "",
        "factor": "" if event.factor is None else f"{event.factor:g}",
        "added_requests_per_second": f"{event.added_requests_per_second:g}" if event.added_requests_per_second else "",
    }


# --- What the people of a deployment know ------------------------------------------------------------------------------------


class PlanSettingsForm(forms.Form):
    lead_time_days = number_field("Lead time, days", hint="From an order to replicas that serve.")
    approval_days = number_field("Approval, days", hint="From asking to ordering.")
    startup_minutes = number_field(
        "Start of a replica, min", hint="Until it serves. Empty: measured from its own starts where that can be seen."
    )
    slots = number_field("Requests one replica serves at a time", hint="Empty: estimated from requests running.")
    least_replicas = number_field("Least replicas")
    most_replicas = number_field("Most replicas")

    def told(self) -> dict[str, Any]:
        fields = {name: value for name, value in self.cleaned_data.items() if name != "startup_minutes"}
        minutes = self.cleaned_data["startup_minutes"]
        value = number_of(minutes)
        return fields | {"startup_seconds": value * 60 if value is not None else minutes}

    def problems_add(self, error: ScenarioError) -> None:
        for field, sentence in error.problems.items():
            name = "startup_minutes" if field == "startup_seconds" else field
            self.add_error(name if name in self.fields else None, sentence)


def settings_initial(row: PlanSettings | None) -> dict[str, Any]:
    if row is None:
        return {}
    names = ("lead_time_days", "approval_days", "slots", "least_replicas", "most_replicas")
    shown = {name: "" if getattr(row, name) is None else f"{getattr(row, name):g}" for name in names}
    return shown | {"startup_minutes": "" if row.startup_seconds is None else f"{row.startup_seconds / 60:g}"}


# --- A group or a cluster ----------------------------------------------------------------------------------------------------


class GroupForm(forms.Form):
    """Who it adds up: a whole cluster, or some deployments; checked where the API checks it."""

    name = forms.CharField(label="Name", required=False, max_length=120, help_text="E.g. Search models, or H100 in prod-eu.")
    cluster = forms.ChoiceField(label="A whole cluster", required=False, help_text="For admins of the install.")
    members = forms.MultipleChoiceField(label="Or these deployments", required=False, widget=forms.CheckboxSelectMultiple)
    horizon_days = forms.ChoiceField(label="Horizon", choices=((30, "30 days"), (90, "90 days"), (365, "1 year")), initial=90)
    growth = number_field("Growth, % a month", hint="Empty: the trend found.")

    def __init__(self, *args: Any, clusters: list[tuple[str, str]], deployments: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].must = True  # type: ignore[attr-defined]
        if clusters:
            self.fields["cluster"].choices = [("", "none"), *clusters]  # type: ignore[attr-defined]
        else:
            del self.fields["cluster"]
        self.fields["members"].choices = deployments  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        cluster, members = cleaned.get("cluster"), cleaned.get("members")
        if cluster and members:
            self.add_error("members", "Choose a whole cluster or single deployments, not both.")
        elif not cluster and not members and "members" not in self.errors:
            self.add_error("members", "Choose at least one deployment, or a cluster.")
        growth = number_of(cleaned.get("growth", ""))
        if growth is not None and not LEAST_GROWTH <= growth <= MOST_GROWTH:
            self.add_error("growth", f"It must be from {LEAST_GROWTH:g} to {MOST_GROWTH:,.0f} % a month, got {cleaned['growth']}.")
        return cleaned

    def told(self) -> dict[str, Any]:
        cleaned = self.cleaned_data
        growth = number_of(cleaned["growth"])
        told = {"name": cleaned["name"], "horizon_days": cleaned["horizon_days"]}
        return told | {"growth_per_month": growth / 100 if growth is not None else cleaned["growth"] or None}

    def problems_add(self, error: ScenarioError) -> None:
        for field, sentence in error.problems.items():
            name = {"growth_per_month": "growth"}.get(field, field)
            self.add_error(name if name in self.fields else None, sentence)
