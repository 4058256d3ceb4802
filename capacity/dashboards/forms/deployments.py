"""Forms of one deployment: its words, its team, its events."""

from typing import Any

from django import forms
from django.db.models import QuerySet

from monitoring.models import Deployment, EventKind, Team, WorkloadKind

EVENT_KINDS = tuple((kind.value, kind.label) for kind in (EventKind.LAUNCH, EventKind.NOTE, EventKind.INCIDENT))
BY_RULES = "rules"


class DeploymentForm(forms.Form):
    name = forms.CharField(max_length=253, help_text="What screens call it. Empty: the name its server reports.", required=False)
    team = forms.ChoiceField(help_text="By hand it stays, whatever the rules say.")
    environment = forms.CharField(max_length=40, required=False, help_text="For example production or staging.")
    workload_kind = forms.ChoiceField(
        label="Kind", choices=WorkloadKind.choices, help_text="Training is named as such and its GPUs are not called waste."
    )

    def __init__(self, *args: Any, deployment: Deployment, teams: QuerySet[Team], **kwargs: Any) -> None:
        kwargs.setdefault("initial", initial_of(deployment))
        super().__init__(*args, **kwargs)
        choices = [(BY_RULES, "By the team rules"), *((str(team.pk), team.name) for team in teams)]
        self.fields["team"].choices = choices  # type: ignore[attr-defined]


def initial_of(deployment: Deployment) -> dict[str, Any]:
    team = str(deployment.team_id) if deployment.team_by_hand and deployment.team_id else BY_RULES
    return {
        "name": deployment.name,
        "team": team,
        "environment": deployment.environment,
        "workload_kind": deployment.workload_kind,
    }


class EventForm(forms.Form):
    kind = forms.ChoiceField(choices=EVENT_KINDS)
    title = forms.CharField(max_length=200, label="What", help_text="For example: campaign starts, 3 times the traffic.")
    at = forms.DateTimeField(
        label="When", widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"), help_text="In your time zone."
    )
    end_at = forms.DateTimeField(
        label="Until", required=False, widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        at, end_at = cleaned.get("at"), cleaned.get("end_at")
        if at and end_at and end_at <= at:
            self.add_error("end_at", "This lies before the beginning. Leave it empty for a moment.")
        return cleaned
