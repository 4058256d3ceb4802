"""The settings that live in the database, said once: name, default, limits and a sentence each."""

from dataclasses import dataclass
from datetime import datetime

from monitoring.models.upkeep import Setting


@dataclass(frozen=True)
class KnownSetting:
    name: str
    default: float
    minimum: float
    maximum: float
    unit: str
    meaning: str


KNOWN: dict[str, KnownSetting] = {
    known.name: known
    for known in (
        KnownSetting("retention_raw_days", 14, 1, 365, "days", "How long raw samples are kept."),
        KnownSetting("retention_5m_days", 90, 2, 1100, "days", "How long rollups of 5 and 15 minutes are kept."),
        KnownSetting("retention_1h_months", 25, 2, 120, "months", "How long hourly rollups are kept; daily ones stay for ever."),
        KnownSetting("partitions_ahead_days", 8, 7, 60, "days", "How far ahead the tables' partitions are made."),
        KnownSetting("import_raw_hours", 24, 0, 336, "hours", "How much of an import's newest history comes in as raw samples."),
        KnownSetting("ingest_ahead_seconds", 600, 0, 3600, "seconds", "Samples further ahead of our clock than this are rejected."),
        KnownSetting("ingest_samples_per_batch", 10_000, 100, 1_000_000, "samples", "Most samples a pushed batch may hold."),
        KnownSetting("ingest_body_mib", 8, 1, 64, "MiB", "Largest pushed body on the wire."),
        KnownSetting("ingest_decoded_mib", 32, 1, 256, "MiB", "Largest pushed body once unpacked."),
        KnownSetting("ingest_gzip_ratio", 200, 10, 1100, "times", "How much larger than on the wire an unpacked body may be."),
        KnownSetting("ingest_text_characters", 1024, 64, 10_000, "characters", "Longest text in a pushed batch."),
        KnownSetting(
            "ingest_entities_per_batch", 1000, 1, 10_000, "entities", "Most nodes and accelerators of a pushed batch, and most processes."
        ),
        KnownSetting("ingest_series_per_agent", 10_000, 100, 1_000_000, "series", "Most series of one agent; further ones are refused."),
        KnownSetting("ingest_batches_per_minute", 12_000, 1, 1_000_000, "batches", "Most pushed batches of one key in a minute."),
        KnownSetting("rollup_lag_seconds", 300, 0, 3600, "seconds", "How long a rollup waits for late samples before it is filled."),
    )
}


def setting_get(name: str) -> float:
    """The stored value, or the default."""
    known = KNOWN[name]
    stored = Setting.objects.filter(name=name).values_list("value", flat=True).first()
    return known.default if stored is None else float(stored)


def settings_get(*names: str) -> dict[str, float]:
    """Several settings in one query."""
    stored = dict(Setting.objects.filter(name__in=names).values_list("name", "value"))
    return {name: float(stored.get(name, KNOWN[name].default)) for name in names}


def setting_set(name: str, value: float, *, by: str, now: datetime) -> None:
    known = KNOWN[name]
    if not known.minimum <= value <= known.maximum:
        raise ValueError(f"{name} needs {known.minimum:g} to {known.maximum:g} {known.unit}, got {value:g}")
    Setting.objects.update_or_create(name=name, defaults={"value": value, "updated_by": by, "updated_at": now})
