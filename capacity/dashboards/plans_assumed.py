"""What a plan page assumes: a saved scenario and what the address adds to it. A link carries all of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from django.http import Http404, HttpRequest

from capacity.analysis.scenarios import ScenarioError, Subject, event_values
from capacity.dashboards.forms.plans import ASSUMED, DATETIME, WhatIfForm, event_fields
from capacity.dashboards.plans_rows import scenario_get
from capacity.models import PlannedEvent, Scenario
from monitoring.access import Actor
from monitoring.models import Deployment

SEPARATOR = "~"
EVENTS_MOST = 20
HORIZONS = ((30, "30 d"), (90, "90 d"), (365, "1 y"))
EVENT_PARTS = ("kind", "start_at", "end_at", "factor", "added_requests_per_second", "name")


@dataclass(frozen=True)
class Assumed:
    """`values` is the scenario as it is computed, `saved` the row it begins with; `events` are only in the address."""

    subject: Subject
    saved: Scenario | None
    form: WhatIfForm
    events: Sequence[PlannedEvent]
    texts: Sequence[str]  # of the events, as the address has them
    problems: Sequence[str]  # events that could not be read
    asked: dict[str, str]  # given in the address, without the scenario

    @property
    def values(self) -> Scenario:
        """Never saved: its key is that of the saved scenario, so that its own events are found."""
        made = self.form.made if self.form.is_valid() and self.form.made is not None else (self.saved or Scenario())
        made.scope, made.deployment, made.cluster = self.subject.scope, self.subject.deployment, self.subject.cluster
        return made

    @property
    def own(self) -> bool:
        """Something is asked that no stored plan answers."""
        return bool(self.asked or self.events)

    @property
    def refused(self) -> bool:
        """What is asked could not be read; its fields say so, and the stored plan stands below."""
        return bool(self.form.errors)

    @property
    def horizon_days(self) -> int:
        return self.values.horizon_days

    @property
    def query(self) -> str:
        return self.query_with()

    def query_with(self, *, texts: Sequence[str] | None = None, **changes: str) -> str:
        """The query string of this page with some values changed; an empty one is dropped."""
        known = {"scenario": str(self.saved.pk) if self.saved else ""} | self.asked | changes
        pairs = [(name, value) for name, value in known.items() if value != ""]
        pairs += [("event", text) for text in (self.texts if texts is None else texts)]
        return "?" + urlencode(pairs, safe=":~") if pairs else "?"

    @property
    def without_own(self) -> str:
        return f"?scenario={self.saved.pk}" if self.saved else "?"

    def hidden(self) -> list[tuple[str, str]]:
        """What the form of what-if carries along."""
        pairs = [("scenario", str(self.saved.pk))] if self.saved else []
        return pairs + [("event", text) for text in self.texts]


def assumed_read(request: HttpRequest, subject: Subject, *, saved: Scenario | None, now: datetime, unit: str = "replicas") -> Assumed:
    """What cannot be read is said beside its field, and the plan is shown without it."""
    asked = {name: request.GET[name].strip()[:120] for name in ASSUMED if request.GET.get(name, "").strip()}
    form = WhatIfForm(asked, scenario=saved, unit=unit)
    form.is_valid()
    texts, events, problems = [], [], []
    for text in request.GET.getlist("event")[:EVENTS_MOST]:
        try:
            events.append(event_read(text, now=now))
            texts.append(text)
        except ScenarioError as error:
            problems.append(f"The event “{text[:60]}” of the address cannot be read: {' '.join(error.problems.values())}")
    return Assumed(subject, saved, form, events, texts, problems, asked)


def assumed_of(request: HttpRequest, deployment: Deployment, *, actor: Actor, now: datetime) -> Assumed:
    """`scenario` in the address must be one of this deployment that the reader may see."""
    saved: Scenario | None = None
    if asked := request.GET.get("scenario", ""):
        saved = scenario_get(actor, asked)
        if saved.deployment_id != deployment.pk:
            raise Http404("There is no such page.")
    return assumed_read(request, Subject(deployment=deployment), saved=saved, now=now)


def event_read(text: str, *, now: datetime) -> PlannedEvent:
    parts = text.split(SEPARATOR, len(EVENT_PARTS) - 1)
    if len(parts) != len(EVENT_PARTS):
        raise ScenarioError({"": f"It needs {len(EVENT_PARTS)} parts ({', '.join(EVENT_PARTS)}) with {SEPARATOR} between them."})
    return event_values(event_fields(dict(zip(EVENT_PARTS, parts, strict=True))), now=now)


def event_text(event: PlannedEvent) -> str:
    """As the address carries it; the name comes last, so it may hold anything."""
    parts = (
        event.kind,
        event.start_at.astimezone(UTC).strftime(DATETIME),
        event.end_at.astimezone(UTC).strftime(DATETIME) if event.end_at else "",
        "" if event.factor is None else f"{event.factor:g}",
        f"{event.added_requests_per_second:g}" if event.added_requests_per_second else "",
        event.name,
    )
    return SEPARATOR.join(parts)


def moved(event: PlannedEvent, *, to: datetime) -> PlannedEvent:
    """The same event at another time, as long as before."""
    length = event.end_at - event.start_at if event.end_at else None
    event.start_at, event.end_at = to, to + length if length is not None else None
    return event
