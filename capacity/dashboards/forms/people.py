"""Forms of teams, rules, members, keys and the own account."""

from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.db.models import QuerySet
from django.utils.text import slugify

from monitoring.models import Cluster, Role, Scope, Team, TeamRule, User

LIFETIMES = ((30, "30 days"), (90, "90 days"), (365, "1 year"), (0, "never ends"))


class TeamForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Team
        fields = ("name",)
        help_texts = {"name": "For example Search."}

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"].strip()
        slug = slugify(name)
        if not slug:
            raise forms.ValidationError("A team name needs a letter or a digit, e.g. Search.")
        if Team.objects.filter(slug=slug).exclude(pk=self.instance.pk).exists():
            raise forms.ValidationError("A team with nearly this name is there already.")
        self.instance.slug = slug
        return name


class InviteForm(forms.Form):
    email = forms.EmailField(label="E-mail")
    role = forms.ChoiceField(choices=Role.choices, initial=Role.VIEWER)


class RoleForm(forms.Form):
    role = forms.ChoiceField(choices=Role.choices)


class RuleForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = TeamRule
        fields = ("cluster", "namespace", "workload", "label", "label_value", "team")
        labels = {"label_value": "Label value"}
        help_texts = {"label": "A label of the deployment, e.g. app; empty: labels do not matter."}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("cluster", "namespace", "workload", "label_value"):
            self.fields[name].required = False

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for name in ("cluster", "namespace", "workload", "label_value"):
            cleaned[name] = (cleaned.get(name) or "").strip() or "*"
        return cleaned


class KeyForm(forms.Form):
    """A key that sends telemetry is of one cluster and of no team; only admins of the install make it."""

    name = forms.CharField(max_length=120, help_text="What uses it, e.g. release pipeline.")
    scope = forms.ChoiceField(label="May", choices=Scope.choices, initial=Scope.READ)
    team = forms.ModelChoiceField(queryset=Team.objects.none(), required=False, empty_label="All teams")
    cluster = forms.ModelChoiceField(
        queryset=Cluster.objects.none(), required=False, empty_label="All clusters", help_text="Needed to send telemetry."
    )
    lifetime_days = forms.TypedChoiceField(label="Ends after", choices=LIFETIMES, coerce=int, initial=90)

    def __init__(self, *args: Any, teams: QuerySet[Team], admin: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        team = self.fields["team"]
        team.queryset = teams  # type: ignore[attr-defined]
        if admin:
            self.fields["cluster"].queryset = Cluster.objects.filter(demo=False)  # type: ignore[attr-defined]
        else:
            team.required, team.empty_label = True, None  # type: ignore[attr-defined]
            self.fields["scope"].choices = [choice for choice in Scope.choices if choice[0] != Scope.INGEST]  # type: ignore[attr-defined]
            del self.fields["cluster"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("scope") == Scope.INGEST:
            if not cleaned.get("cluster"):
                self.add_error("cluster", "A key that sends telemetry is of one cluster: choose it.")
            if cleaned.get("team"):
                self.add_error("team", "A key that sends telemetry is of no team: choose All teams.")
        return cleaned


class AccountForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = User
        fields = ("name", "time_zone")
        labels = {"time_zone": "Time zone"}
        widgets = {"time_zone": forms.TextInput(attrs={"list": "zones", "autocomplete": "off"})}
        help_texts = {"name": "How others see you.", "time_zone": "Empty: the zone of your browser."}

    def clean_time_zone(self) -> str:
        zone: str = self.cleaned_data["time_zone"].strip()
        if zone and zone not in available_timezones():
            raise forms.ValidationError("This zone is not known. Enter one like Europe/Berlin.")
        return zone
