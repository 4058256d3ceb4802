"""Retention: how long each resolution is kept, and what that costs in disk. For admins of the install."""

from dataclasses import dataclass

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from capacity.dashboards.forms.retention import RetentionForm
from capacity.dashboards.replies import guarded, show, snapshot, toast, undo_url
from capacity.dashboards.words import figure
from monitoring.access import actor_of, admin_require, audit
from monitoring.models import KNOWN, KnownSetting, Setting, setting_set, settings_get
from monitoring.series.sizes import day_bytes

NAMES = ("retention_raw_days", "retention_5m_days", "retention_1h_months")
# setting -> (what it keeps, the levels it holds for)
KEPT = {
    "retention_raw_days": ("Raw samples", ("sample",)),
    "retention_5m_days": ("5 and 15 minutes", ("5m", "15m")),
    "retention_1h_months": ("Hours", ("1h",)),
}
DAYS = {"days": 1.0, "months": 365.25 / 12}


@dataclass(frozen=True)
class Keeping:
    """One setting as the page shows it: what is kept now, what a day of it takes, and the form that changes it."""

    known: KnownSetting
    title: str
    value: float
    bytes_a_day: float | None
    form: RetentionForm

    @property
    def cost(self) -> str:
        """ "about 1.20 GiB a day, 16.8 GiB for 14 days"."""
        if self.bytes_a_day is None:
            return "not known before a day of it has come in"
        whole = figure(self.bytes_a_day * self.value * DAYS[self.known.unit], "bytes")
        return f"about {figure(self.bytes_a_day, 'bytes')} a day, {whole} for {self.value:g} {self.known.unit}"


@guarded
@require_http_methods(["GET", "POST"])
def retention(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    admin_require(actor)
    name = request.POST.get("name", "")
    posted = RetentionForm(request.POST, name=name) if request.method == "POST" and name in NAMES else None
    before = settings_get(*NAMES)
    if posted is not None and posted.is_valid():
        value = posted.cleaned_data["value"]
        if value < before[name] and "confirm" not in request.POST:
            context = {"known": KNOWN[name], "title": KEPT[name][0], "value": value, "before": before[name]}
            return show(request, "setup/retention_confirm.html", context)
        retention_keep(request, name=name, value=value, before=before[name])
        return redirect("retention")
    rates = day_bytes(now=timezone.now())
    rows = [keeping(each, value=before[each], rates=rates, posted=posted if each == name else None) for each in NAMES]
    return show(request, "setup/retention.html", {"rows": rows}, status=422 if posted is not None else 200)


def keeping(name: str, *, value: float, rates: dict[str, float], posted: RetentionForm | None) -> Keeping:
    title, levels = KEPT[name]
    known = [rates[level] for level in levels if level in rates]
    form = posted or RetentionForm(name=name, initial={"value": f"{value:g}"})
    return Keeping(KNOWN[name], title, value, sum(known) if known else None, form)


def retention_keep(request: HttpRequest, *, name: str, value: float, before: float) -> None:
    """Kept and audited; the Undo writes the former value back, or takes the row away where the default stood."""
    actor, known = actor_of(request), KNOWN[name]
    with transaction.atomic():
        row = Setting.objects.select_for_update().filter(name=name).first()
        fields = snapshot(row, "name", "value", "updated_by", "updated_at") if row else None
        setting_set(name, value, by=actor.name, now=timezone.now())
        audit(actor, "setting.change", f"setting {name}", before={"value": before}, after={"value": value}, request=request)
    row = Setting.objects.get(name=name)
    text = f"{KEPT[name][0]} are kept for {value:g} {known.unit}."
    toast(request, text, undo=undo_url("setting", pk=row.pk, fields=fields))
