"""Why a metric is missing: which names were asked, when one was last seen, what it costs, what to do."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from monitoring.catalog.columns import COLUMNS
from monitoring.catalog.records import Kind, Latency, Series, System
from monitoring.catalog.systems import SYSTEMS
from monitoring.models import Deployment, SeenMetric, Source
from monitoring.prometheus import series_present, wire_names

LATENCY_LABELS = {
    Latency.REQUEST_DURATION: "Request duration",
    Latency.TIME_TO_FIRST_TOKEN: "Time to first token",
    Latency.TIME_PER_OUTPUT_TOKEN: "Time per output token",
    Latency.QUEUE_TIME: "Queue time",
}


@dataclass(frozen=True)
class Missing:
    """One quantity that is not measured, and the sentence for the screen."""

    column: str
    label: str
    asked: tuple[str, ...]
    last_seen: datetime | None
    text: str
    costs: str = ""
    remedy: str = ""


def label_of(series: Series, *, system: System) -> str:
    if isinstance(series.target, Latency):
        return LATENCY_LABELS[series.target]
    return next((column.label for column in COLUMNS[system.entity] if column.name == series.target), series.target.replace("_", " "))


def target_name(target: str | Latency) -> str:
    return target.name.lower() if isinstance(target, Latency) else target


def asked_names(series: Series) -> tuple[str, ...]:
    return (*wire_names(series), *series.other)


def when_text(at: datetime, *, now: datetime) -> str:
    """Today, yesterday, a weekday, then a date: as people say it. In UTC, as it is stored."""
    days = (now.date() - at.date()).days
    if days <= 0:
        return f"today at {at:%H:%M} UTC"
    if days == 1:
        return "yesterday"
    return f"on {at:%A}" if days < 7 else f"on {at:%-d %B %Y}"


def missing_text(series: Series, *, seen: Mapping[str, datetime], present: Collection[str], now: datetime) -> str:
    """Asked X (and Y), last seen Tuesday, renamed to Z."""
    asked = asked_names(series)
    names = asked[0] if len(asked) == 1 else f"{', '.join(asked[:-1])} and {asked[-1]}"
    renamed = [name for name in asked if name in present]
    known = {name: seen[name] for name in asked if name in seen}
    parts = [f"Asked for {names}"]
    if known:
        last = max(known, key=lambda name: known[name])
        parts.append(f"{last if len(asked) > 1 else 'it'} was last seen {when_text(known[last], now=now)}")
    elif not renamed:
        parts.append("never seen on this source")
    if renamed and known:
        parts.append(f"the source now has {' and '.join(renamed)}")
    text = "; ".join(parts) + "."
    return f"{text} {sentence(series.remedy)}" if series.remedy else text


def sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def series_missing(
    system: System, *, present: Collection[str], seen: Mapping[str, datetime], now: datetime, covered: Collection[str | Latency] = ()
) -> list[Missing]:
    """What a system would tell and this source does not have; a target another of its series answers is not missing."""
    told = {series.target for series in system.series if series_present(series, present)} | set(covered)
    out = {}
    for series in system.series:
        if series.target in told or series.target in out or not (series.required or series.without):
            continue
        last = max((seen[name] for name in asked_names(series) if name in seen), default=None)
        out[series.target] = Missing(
            column=target_name(series.target),
            label=label_of(series, system=system),
            asked=asked_names(series),
            last_seen=last,
            text=missing_text(series, seen=seen, present=present, now=now),
            costs=series.without,
            remedy=series.remedy,
        )
    return list(out.values())


def seen_names(source: Source) -> dict[str, datetime]:
    return dict(SeenMetric.objects.filter(source=source).values_list("name", "last_seen_at"))


def missing_metrics(deployment: Deployment, *, now: datetime | None = None) -> list[Missing]:
    """What the page of a deployment lacks, and why; what its system never has is named with the reason.

    Present is what the sources of its cluster had at their newest look.
    """
    system = SYSTEMS.get(deployment.system)
    if system is None:
        return []
    seen: dict[str, datetime] = {}
    present: set[str] = set()
    for source in Source.objects.filter(cluster=deployment.cluster_id, demo=False):
        names = seen_names(source)
        newest = max(names.values(), default=None)
        present |= {name for name, at in names.items() if newest is not None and (newest - at).total_seconds() < 3600}
        seen.update(names)
    covered = {column for column in deployment.providers if deployment.providers[column] != deployment.system}
    return [
        *series_missing(system, present=present, seen=seen, now=now or timezone.now(), covered=covered),
        *never_told(system, covered=covered),
    ]


def never_told(system: System, *, covered: Collection[str | Latency] = ()) -> list[Missing]:
    known: Iterable[tuple[str | Latency, str]] = system.lacks.items()
    return [
        Missing(
            column=target_name(target),
            label=label_of(Series(target, (), Kind.GAUGE), system=system),
            asked=(),
            last_seen=None,
            text=f"{system.name} does not tell it: {reason}.",
        )
        for target, reason in known
        if target not in covered
    ]
