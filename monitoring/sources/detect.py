"""The Test of a source: what answers, what it knows, how far back, what is missing and what that costs; each in words."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from time import monotonic
from typing import Any, TypeVar

from monitoring.access.secrets import SecretError
from monitoring.catalog.records import Entity, Kind, System
from monitoring.catalog.systems import SYSTEMS
from monitoring.models import Source, SourceState
from monitoring.prometheus import Prometheus, PrometheusError, series_present
from monitoring.sources.connect import client_of
from monitoring.sources.diagnosis import Missing, seen_names, series_missing
from monitoring.sources.discover import LOOK_SECONDS, era_of, seen_metrics_record, source_facts
from monitoring.sources.gather import Ask, Gathered, Span, asks_of, label_set, span_gather, systems_present
from monitoring.sources.identity import AcceleratorIdentity, Facts, Identity, NodeIdentity, ReplicaIdentity, identify
from monitoring.sources.layout import is_joined
from monitoring.sources.scrapes import own_scrapes, scrapes_measure
from monitoring.sources.states import Condition, block_of, condition_fields, condition_of

One = TypeVar("One", bound=Identity)

SLOW_SECONDS = 10.0
HOUR_SECONDS = 3600
STEPS = (15, 30, 60)
MANY_SERIES = 20_000  # of one instant: then a step of a minute
NOT_FOUND = ("dcgm_exporter", "kube_state_metrics", "node_exporter", "cadvisor")  # named when they are missing


@dataclass
class Finding:
    """What Test found, in the shape that is stored and shown."""

    ok: bool
    text: str
    state: str
    seconds: float = 0.0
    product: str = ""
    version: str = ""
    history_days: float | None = None
    deployments: int = 0
    accelerators: int = 0
    nodes: int = 0
    scrape_interval_seconds: float | None = None
    step_seconds: int | None = None  # recommended
    systems: list[dict[str, Any]] = field(default_factory=list)
    not_found: list[dict[str, Any]] = field(default_factory=list)
    block: dict[str, Any] | None = None


def source_test(source: Source, *, now: datetime) -> Finding:
    """Ask a source what it has, write nothing but the finding and the state. Also for a source not saved yet."""
    began = monotonic()
    try:
        client = client_of(source)
        found = source_look(client, source=source, now=now)
    except PrometheusError as error:
        condition = condition_of(error)
        found = Finding(False, condition.text, condition.state, block=block_of(error))
    except (SecretError, ValueError) as error:  # a secret that cannot be opened, a selector that cannot be read
        found = Finding(False, f"{error}.", SourceState.WRONG)
    found.seconds = round(monotonic() - began, 3)
    if found.ok and found.seconds > SLOW_SECONDS:
        found.state = SourceState.SLOW
        found.text += f" The answer took {found.seconds:.0f} s; polling may need a longer step."
    finding_store(source, found=found, now=now)
    return found


def finding_store(source: Source, *, found: Finding, now: datetime) -> None:
    condition = Condition(SourceState(found.state), "" if found.state == SourceState.OK else found.text)
    for name, value in condition_fields(source, condition, now=now).items():
        setattr(source, name, value)
    source.finding, source.tested_at = asdict(found), now
    source.scrape_interval_seconds = found.scrape_interval_seconds or source.scrape_interval_seconds
    if source.pk:
        names = ["state", "state_text", "state_since", "finding", "tested_at", "scrape_seconds", "scrape_interval_seconds"]
        if found.ok:
            source.next_poll_at, source.failures = now, 0
            names += ["next_poll_at", "failures"]
        source.save(update_fields=names)


def source_look(client: Prometheus, *, source: Source, now: datetime) -> Finding:
    build = client.buildinfo()
    at = now.timestamp()
    names = client.names(start=at - HOUR_SECONDS, end=at)
    systems = systems_present(names)
    if not names:
        text = f"{source.url} answers, but has not one series; add scrape targets to it, or widen the selector of this source."
        return Finding(False, text, SourceState.EMPTY, product=build.product, version=build.version)
    if not systems:
        text = f"{source.url} answers and has {len(names)} metrics, but none of a system Headroom knows; scrape a model server with it."
        return Finding(False, text, SourceState.EMPTY, product=build.product, version=build.version, not_found=absent_systems(()))
    found = Finding(True, "", SourceState.OK, product=build.product, version=build.version)
    identities = identities_look(client, source=source, systems=systems, names=names, at=at)
    found.deployments = len({one.key for one in identities_of(identities, ReplicaIdentity)})
    found.accelerators = len({(one.cluster, one.uuid) for one in identities_of(identities, AcceleratorIdentity)})
    found.nodes = len(set(identities_of(identities, NodeIdentity)))
    spans = {system.slug: history_days(client, system=system, names=names, now=at) for system in systems}
    found.history_days = max((days for days in spans.values() if days is not None), default=None)
    seen = seen_names(source) if source.pk else {}
    found.systems = [
        system_finding(system, names=names, identities=identities.get(system.slug, []), days=spans[system.slug])
        | {"missing": [missing_json(one) for one in series_missing(system, present=names, seen=seen, now=now)]}
        for system in systems
    ]
    found.not_found = absent_systems(systems)
    scrapes = scrapes_measure(client, systems=systems, names=names, moments=(at,))
    source.scrape_seconds = scrapes
    found.scrape_interval_seconds = max(own_scrapes(scrapes, systems=systems), default=None)
    found.step_seconds = step_recommended(found.scrape_interval_seconds, series=sum(len(many) for many in identities.values()))
    found.text = finding_text(found, systems=systems)
    if source.pk:
        seen_metrics_record(source, names=names, now=now)
    return found


def identities_of(identities: Mapping[str, Sequence[Identity]], kind: type[One]) -> list[One]:
    return [one for many in identities.values() for one in many if isinstance(one, kind)]


def identities_look(
    client: Prometheus, *, source: Source, systems: Sequence[System], names: Collection[str], at: float
) -> dict[str, list[Identity]]:
    """Who would be made known: one series a system over the last hour, identified, nothing written."""
    asks: dict[str, Ask] = {}
    for ask in asks_of(systems, names=names, rollup=False):
        if not is_joined(ask.system) and not ask.series.server_wide and ask.series.kind is not Kind.HISTOGRAM:
            asks.setdefault(ask.system.slug, ask)
    span = Span(at - HOUR_SECONDS, at, LOOK_SECONDS, {system.slug: LOOK_SECONDS for system in systems})
    gathered = span_gather(client, asks=asks.values(), names=names, span=span)
    facts = source_facts(client, source=source, names=names, at=at, window_seconds=HOUR_SECONDS)
    return {ask.system.slug: identities_in(gathered, system=ask.system, facts=facts) for ask, _ in gathered.answers}


def identities_in(gathered: Gathered, *, system: System, facts: Facts) -> list[Identity]:
    found = (
        identify(dict(label_set(labels, series=ask.series)), system=system, facts=facts)
        for ask, matrix in gathered.answers
        if ask.system is system
        for labels in matrix.labels
    )
    return [one for one in found if one is not None]


def history_days(client: Prometheus, *, system: System, names: Collection[str], now: float) -> float | None:
    name = next(name for name in system.detect if name in names)
    oldest = client.oldest(name, now=now)
    return None if oldest is None else round((now - oldest) / 86400, 1)


def step_recommended(scrape_interval_seconds: float | None, *, series: int) -> int | None:
    """The shortest usual step that is not finer than the scrapes; a minute for a large source."""
    if scrape_interval_seconds is None:
        return None
    if series > MANY_SERIES:
        return STEPS[-1]
    return next((step for step in STEPS if step >= scrape_interval_seconds), STEPS[-1])


ENTITY_WORDS = {Entity.DEPLOYMENT: "deployment", Entity.ACCELERATOR: "accelerator", Entity.NODE: "node", Entity.REPLICA: "replica"}


def system_finding(system: System, *, names: Collection[str], identities: Sequence[Identity], days: float | None) -> dict[str, Any]:
    series = [one for one in system.series if one.kind is not Kind.INFO or is_joined(system)]
    targets = {one.target for one in series}
    found = {one.target for one in series if series_present(one, names)}
    count = len({entity_key(one) for one in identities})
    versions = sorted({one.version for one in identities if isinstance(one, ReplicaIdentity) and one.version and not system.version_label})
    return {
        "slug": system.slug,
        "name": system.name,
        "version": ", ".join(versions[:3]) or era_of(system, names=names),
        "entities": "" if is_joined(system) else plural(count, ENTITY_WORDS[system.entity]),
        "signals_found": len(found),
        "signals_total": len(targets),
        "history_days": days,
    }


def entity_key(one: Identity) -> Hashable:
    """What is counted: deployments, not replicas; devices, not who holds them."""
    if isinstance(one, ReplicaIdentity):
        return one.key
    return (one.cluster, one.uuid) if isinstance(one, AcceleratorIdentity) else one


def missing_json(one: Missing) -> dict[str, Any]:
    return {
        "label": one.label,
        "asked": list(one.asked),
        "costs": one.costs,
        "remedy": one.remedy,
        "last_seen": one.last_seen.isoformat() if one.last_seen else None,
        "text": one.text,
    }


def absent_systems(systems: Sequence[System]) -> list[dict[str, Any]]:
    present = {system.slug for system in systems}
    missing = [SYSTEMS[slug] for slug in NOT_FOUND if slug in SYSTEMS and slug not in present]
    return [{"slug": one.slug, "name": one.name, "costs": one.costs} for one in missing]


def plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def finding_text(found: Finding, *, systems: Sequence[System]) -> str:
    """31 days of history, 14 deployments: vLLM, Triton, DCGM exporter; missing: kube-state-metrics (no owner names)."""
    days = "no history" if not found.history_days else f"{plural(max(1, round(found.history_days)), 'day')} of history"
    told = {one["slug"]: f"{one['name']} {one['version']}".strip() for one in found.systems}
    parts = [days, plural(found.deployments, "deployment")]
    if found.accelerators:
        parts.append(plural(found.accelerators, "accelerator"))
    text = f"{', '.join(parts)}: {', '.join(told[system.slug] for system in systems)}"
    absent = "; ".join(f"{one['name']} ({one['costs']})" for one in found.not_found)
    return f"{text}. Missing: {absent}." if absent else f"{text}."
