"""The form of an SLO: people type percents and "800 ms"; ratios and seconds are kept."""

import re
from dataclasses import dataclass
from typing import Any

from django import forms

from monitoring.catalog.columns import LATENCY_LABELS
from monitoring.catalog.records import Latency
from monitoring.models import Slo

PERCENTILES = ((0.5, "p50"), (0.9, "p90"), (0.95, "p95"), (0.99, "p99"))
WINDOWS = ((7, "7 days"), (14, "14 days"), (28, "28 days"), (30, "30 days"))
DURATION = re.compile(r"([0-9]*\.?[0-9]+)\s*(ms|s|sec|seconds?|min)?", re.IGNORECASE)
UNIT_SECONDS = {"ms": 0.001, "min": 60.0}


def duration_parse(text: str) -> float:
    """Seconds of "800 ms", "0.8 s", "0,8", "2 min"; without a unit, seconds."""
    match = DURATION.fullmatch(text.strip().replace(",", "."))
    if match is None:
        raise forms.ValidationError("This is not a duration. Enter one like 800 ms or 1.6 s.")
    return float(match[1]) * UNIT_SECONDS.get((match[2] or "s").lower(), 1.0)


def duration_text(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s" if seconds < 1000 else f"{seconds:.0f} s"


class DurationField(forms.CharField):
    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if not text:
            return None
        seconds = duration_parse(text)
        if not 0.0001 <= seconds <= 3600:
            raise forms.ValidationError("A latency promise lies between 0.1 ms and 1 hour, e.g. 800 ms.")
        return seconds

    def prepare_value(self, value: Any) -> Any:
        return duration_text(value) if isinstance(value, float) else value


class PercentField(forms.DecimalField):
    """Typed as a percent, kept as a ratio between 0 and 1."""

    def clean(self, value: Any) -> Any:
        number = super().clean(value.replace("%", "").replace(",", ".").strip() if isinstance(value, str) else value)
        return None if number is None else float(number / 100)

    def prepare_value(self, value: Any) -> Any:
        return f"{value * 100:.6g}" if isinstance(value, float) else value


@dataclass(frozen=True)
class Promise:
    """The values of an SLO, before it belongs to a deployment."""

    latency: int | None
    percentile: float
    threshold_seconds: float | None
    objective_ratio: float
    availability_ratio: float | None
    window_days: int

    def write(self, slo: Slo) -> Slo:
        for name, value in vars(self).items():
            setattr(slo, name, value)
        return slo


class SloForm(forms.Form):
    latency = forms.TypedChoiceField(label="Latency", coerce=int, empty_value=None, required=False)
    percentile = forms.TypedChoiceField(label="Percentile", choices=PERCENTILES, coerce=float, initial=0.95)
    threshold_seconds = DurationField(label="Stays under", required=False, help_text="For example 800 ms or 1.6 s.")
    objective_ratio = PercentField(
        label="In this share of minutes", min_value=50, max_value=100, initial=0.995, help_text="Percent, e.g. 99.5."
    )
    availability_ratio = PercentField(
        label="Requests without an error", min_value=50, max_value=100, required=False, help_text="Percent, e.g. 99.9; empty: no promise."
    )
    window_days = forms.TypedChoiceField(label="Over", choices=WINDOWS, coerce=int, initial=28)

    def __init__(self, *args: Any, kinds: list[Latency], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [("", "No latency promise"), *((int(kind), LATENCY_LABELS[kind]) for kind in kinds)]
        self.fields["latency"].choices = choices  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("latency") is None:
            cleaned["threshold_seconds"] = None
            if cleaned.get("availability_ratio") is None and not self.errors:
                raise forms.ValidationError("Promise a latency, an availability, or both.")
        elif cleaned.get("threshold_seconds") is None and "threshold_seconds" not in self.errors:
            self.add_error("threshold_seconds", "Enter what the latency stays under, e.g. 800 ms.")
        return cleaned

    def promise(self) -> Promise:
        return Promise(**{name: self.cleaned_data[name] for name in Promise.__dataclass_fields__})


def slo_initial(slo: Slo | None) -> dict[str, Any]:
    if slo is None:
        return {}
    return {name: getattr(slo, name) for name in Promise.__dataclass_fields__}
