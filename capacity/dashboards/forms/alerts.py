"""Forms of alerts: rules, silences, channels. They only carry what was typed; the checks and their sentences stand in monitoring.alerts."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django import forms

from capacity.dashboards.alerts_words import signal_label
from capacity.dashboards.words import span
from monitoring.alerts.channel_setup import FieldOffer, KindOffer
from monitoring.alerts.rules import SignalOffer
from monitoring.models import Channel, Comparison, Rule, RuleEntity, Severity, Team

WINDOWS = (60, 300, 600, 900, 1200, 1800, 3600, 3 * 3600, 6 * 3600, 86400, 3 * 86400, 7 * 86400)
WAITS = (0, 60, 120, 300, 600, 900, 1800, 3600, 6 * 3600, 86400)
REPEATS = (("0", "once"), ("1", "each day"), ("7", "each week"))
MATCHERS_HINT = "label=pattern, one a line; * and ? as in a shell. Empty: all."
EVERYBODY = ""  # of the team field: all teams


def spans(known: Iterable[int], also: object, *, zero: str = "at once") -> list[tuple[str, str]]:
    """Lengths to choose from, with the one the rule has."""
    extra = int(str(also)) if str(also or "").isdigit() else None
    return [(str(seconds), span(seconds) if seconds else zero) for seconds in sorted({*known, *([extra] if extra is not None else [])})]


def matchers_text(matchers: Mapping[str, str]) -> str:
    return "\n".join(f"{label}={pattern}" for label, pattern in matchers.items())


class Told(forms.Form):
    """A form whose problems come from the room that checks: field -> sentence. So no field is `required` to Django."""

    needed: tuple[str, ...] = ()  # not shown as optional

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("label_suffix", "")
        super().__init__(*args, **kwargs)
        for name in self.needed:
            self.fields[name].must = True  # type: ignore[attr-defined]

    def problems_add(self, problems: Mapping[str, str]) -> None:
        for name, sentence in problems.items():
            self.add_error(name if name in self.fields else None, sentence)


class TeamForm(Told):
    """For which team: those the reader may change, and all of them for admins of the install."""

    team = forms.ChoiceField(label="Team", required=False)

    def __init__(self, *args: Any, teams: Sequence[Team], everybody: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [(EVERYBODY, "All teams")] if everybody else []
        field = self.fields["team"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices + [(str(team.pk), team.name) for team in teams]
        field.required = not everybody
        self.teams = {str(team.pk): team for team in teams}

    def team_fix(self) -> None:
        """Shown and not to be changed, also where it is not among the reader's."""
        field = self.fields["team"]
        field.disabled, field.required = True, False

    def team_chosen(self) -> Team | None:
        return self.teams.get(self.cleaned_data.get("team", ""))


class RuleForm(TeamForm):
    needed = (
        *("team", "name", "signal", "comparison", "threshold", "window_seconds", "for_seconds", "keep_firing_seconds"),
        *("severity", "summary"),
    )
    name = forms.CharField(label="Name", required=False, max_length=120, help_text="Small letters and -, e.g. queue-too-long.")
    signal = forms.ChoiceField(label="Signal", required=False)
    comparison = forms.ChoiceField(label="Fires", choices=Comparison.choices, required=False)
    threshold = forms.CharField(
        label="Threshold", required=False, max_length=40, widget=forms.TextInput(attrs={"inputmode": "decimal"}),
        help_text="In the signal's unit; a ratio from 0 to 1.",
    )  # fmt: skip
    window_seconds = forms.ChoiceField(label="Mean over", required=False)
    for_seconds = forms.ChoiceField(label="Must be true for", required=False)
    keep_firing_seconds = forms.ChoiceField(label="Ends when false for", required=False)
    severity = forms.ChoiceField(
        label="Severity", choices=Severity.choices, required=False, help_text="Only critical ones should wake people."
    )
    matchers = forms.CharField(
        label="Only where",
        required=False,
        max_length=2500,
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text=MATCHERS_HINT,
    )
    summary = forms.CharField(label="What is wrong", required=False, max_length=400, help_text="First line of every message.")
    consequence = forms.CharField(label="If ignored", required=False, max_length=600, widget=forms.Textarea(attrs={"rows": 2}))
    first_action = forms.CharField(label="Do first", required=False, max_length=600, widget=forms.Textarea(attrs={"rows": 2}))
    runbook_url = forms.CharField(label="Runbook", required=False, max_length=600, help_text="e.g. https://wiki.example.com/queue")
    owner = forms.CharField(label="Owner", required=False, max_length=200, help_text="Who looks after the rule.")

    def __init__(self, *args: Any, offers: Sequence[SignalOffer], rule: Rule | None, **kwargs: Any) -> None:
        if rule is not None:
            kwargs["initial"] = rule_initial(rule) | kwargs.get("initial", {})
        super().__init__(*args, **kwargs)
        everybody = any(value == EVERYBODY for value, _ in self.fields["team"].choices)  # type: ignore[attr-defined]
        self.choose("signal", signal_choices([offer for offer in offers if everybody or offer.entity == RuleEntity.DEPLOYMENT]))
        for name, known in (("window_seconds", WINDOWS), ("for_seconds", WAITS), ("keep_firing_seconds", WAITS)):
            self.choose(name, spans(known, self.data.get(name) or self.initial.get(name)))
        if rule is not None:
            self.team_fix()  # a rule stays with its team, and its alerts with it

    def choose(self, name: str, choices: Any) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices

    def told(self) -> dict[str, object]:
        """What was typed, by the names of the rule."""
        told = {name: value for name, value in self.cleaned_data.items() if name not in ("team", "signal")}
        entity, _, signal = self.cleaned_data.get("signal", "").partition(":")
        return told | ({"entity": entity, "signal": signal} if signal else {"signal": ""})

    def problems_add(self, problems: Mapping[str, str]) -> None:
        super().problems_add({"signal" if name == "entity" else name: sentence for name, sentence in problems.items()})


def rule_initial(rule: Rule) -> dict[str, object]:
    names = [name for name in RuleForm.base_fields if name not in ("team", "matchers", "threshold", "signal")]
    told = {name: getattr(rule, name) for name in names}
    team = str(rule.team_id) if rule.team_id is not None else EVERYBODY
    return told | {
        "team": team,
        "matchers": matchers_text(rule.matchers),
        "threshold": f"{rule.threshold:g}",
        "signal": f"{rule.entity}:{rule.signal}",
    }


def signal_choices(offers: Sequence[SignalOffer]) -> list[tuple[str, list[tuple[str, str]]]]:
    """By entity, which goes with the name: the words first, then the name as the catalogue and YAML have it."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for offer in offers:
        unit = f", {offer.unit}" if offer.unit else ""
        groups.setdefault(RuleEntity(offer.entity).label, []).append(
            (f"{offer.entity}:{offer.name}", f"{signal_label(offer.name)} ({offer.name}{unit})")
        )
    return list(groups.items())


class SilenceForm(TeamForm):
    needed = ("team", "matchers", "end_at", "repeat_days")
    matchers = forms.CharField(
        label="Which alerts",
        required=False,
        max_length=2500,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        help_text="label=pattern, one a line: deployment, cluster, environment, node, rule, severity. All of them must match.",
    )
    start_at = forms.DateTimeField(
        label="From", required=False, widget=forms.DateTimeInput(attrs={"type": "datetime-local"}), help_text="Empty: now."
    )
    end_at = forms.DateTimeField(label="To", required=False, widget=forms.DateTimeInput(attrs={"type": "datetime-local"}))
    repeat_days = forms.ChoiceField(label="Repeat", choices=REPEATS, required=False)
    repeat_until = forms.DateTimeField(
        label="Repeat until", required=False, widget=forms.DateTimeInput(attrs={"type": "datetime-local"}), help_text="Empty: for ever."
    )
    reason = forms.CharField(label="Reason", required=False, max_length=300, help_text="Stands on every alert it mutes.")

    def told(self, *, zone: ZoneInfo) -> dict[str, object]:
        told = {name: value for name, value in self.cleaned_data.items() if name != "team"}
        return told | {"zone": zone.key}


def field_time(at: datetime, *, zone: ZoneInfo) -> str:
    """As a datetime-local field holds it."""
    return f"{at.astimezone(zone):%Y-%m-%dT%H:%M}"


class Unseen(forms.TextInput):
    """Seen while it is typed, and never rendered back."""

    def format_value(self, value: Any) -> None:
        return None


class UnseenLines(forms.Textarea):
    def format_value(self, value: Any) -> None:
        return None


class ChannelForm(TeamForm):
    """Columns every channel has, and below them what its kind asks for."""

    needed = (
        *("team", "name", "group_wait_seconds", "group_interval_seconds", "repeat_critical_seconds", "repeat_warning_seconds"),
        "escalate_after_seconds",
    )

    name = forms.CharField(label="Name", required=False, max_length=200, help_text="As people call it, e.g. ops on call.")
    severities = forms.MultipleChoiceField(
        label="Which alerts", choices=Severity.choices, required=False, widget=forms.CheckboxSelectMultiple, help_text="None ticked: all."
    )
    matchers = forms.CharField(
        label="Only where",
        required=False,
        max_length=2500,
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text=MATCHERS_HINT,
    )
    owner = forms.CharField(label="Owner", required=False, max_length=254, help_text="Address that hears when the channel is switched off.")
    group_wait_seconds = forms.ChoiceField(label="Wait for others of a deployment", required=False)
    group_interval_seconds = forms.ChoiceField(label="Then further ones each", required=False)
    repeat_critical_seconds = forms.ChoiceField(label="Repeat critical ones each", required=False)
    repeat_warning_seconds = forms.ChoiceField(label="Repeat warnings each", required=False)
    escalate_to = forms.ChoiceField(label="Nobody acknowledges: tell also", required=False)
    escalate_after_seconds = forms.ChoiceField(label="After", required=False)
    weekly_digest = forms.BooleanField(label="A list of warnings once a week", required=False)

    def __init__(self, *args: Any, offer: KindOffer, channel: Channel | None, others: Sequence[Channel], **kwargs: Any) -> None:
        if channel is not None:
            kwargs["initial"] = channel_initial(channel, offer) | kwargs.get("initial", {})
        super().__init__(*args, **kwargs)
        self.offer = offer
        for name, known in SPANS.items():
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)
            field.choices = spans(known, self.data.get(name) or self.initial.get(name), zero=ZERO[name])
            if channel is None:
                field.initial = str(Channel._meta.get_field(name).get_default())  # type: ignore[union-attr]
        target = self.fields["escalate_to"]
        assert isinstance(target, forms.ChoiceField)
        target.choices = [("", "nobody"), *((str(each.pk), f"{each.name} ({each.team or 'all teams'})") for each in others)]
        for asked in offer.fields:
            self.fields[asked.name] = field_of(asked, kept=channel is not None)
        if channel is not None:
            self.team_fix()

    @property
    def own(self) -> list[forms.BoundField]:
        """What this kind asks for."""
        return [self[asked.name] for asked in self.offer.fields]

    def told(self) -> dict[str, object]:
        secret = {asked.name for asked in self.offer.fields if asked.secret}
        told = {name: value for name, value in self.cleaned_data.items() if name != "team" and name not in secret}
        return {name: value for name, value in told.items() if value != "" or name not in SPANS} | {"kind": self.offer.kind}

    def secrets(self) -> dict[str, str]:
        """Only those that were typed: an empty one keeps what is stored."""
        typed = {asked.name: str(self.cleaned_data.get(asked.name) or "").strip() for asked in self.offer.fields if asked.secret}
        return {name: text for name, text in typed.items() if text}


SPANS = {
    "group_wait_seconds": (0, 10, 30, 60, 300),
    "group_interval_seconds": (0, 60, 300, 900, 3600),
    "repeat_critical_seconds": (0, 3600, 4 * 3600, 12 * 3600, 86400),
    "repeat_warning_seconds": (0, 4 * 3600, 86400, 7 * 86400),
    "escalate_after_seconds": (300, 600, 900, 1800, 3600),
}
ZERO = {name: "never" if name.startswith("repeat") else "at once" for name in SPANS}


def field_of(asked: FieldOffer, *, kept: bool) -> forms.Field:
    example = {"placeholder": asked.example, "autocomplete": "off", "spellcheck": "false"}
    lines = {"rows": 3} | example
    if asked.secret:
        widget: forms.Widget = UnseenLines(attrs=lines) if asked.many else Unseen(attrs=example)
    else:
        widget = forms.Textarea(attrs=lines) if asked.many else forms.TextInput(attrs=example)
    hint = f"{asked.help} Kept encrypted; only its last four characters are shown again." if asked.secret else asked.help
    field = forms.CharField(label=asked.label, required=False, max_length=4000, widget=widget, help_text=hint)
    field.must = asked.required and not (kept and asked.secret)  # type: ignore[attr-defined]
    return field


def channel_initial(channel: Channel, offer: KindOffer) -> dict[str, object]:
    names = [name for name in ChannelForm.base_fields if name not in ("team", "matchers", "escalate_to")]
    told = {name: getattr(channel, name) for name in names}
    own = {asked.name: channel.options.get(asked.name, "") for asked in offer.fields if not asked.secret}
    shown = {name: "\n".join(value) if isinstance(value, list) else value for name, value in own.items()}
    team = str(channel.team_id) if channel.team_id is not None else EVERYBODY
    target = str(channel.escalate_to_id) if channel.escalate_to_id is not None else ""
    return told | shown | {"team": team, "matchers": matchers_text(channel.matchers), "escalate_to": target}
