"""The limits of pushing, from the settings in the database; asked anew every few seconds, not with every batch."""

import time
from collections.abc import Mapping

from monitoring.models import settings_get

NAMES = (
    "ingest_samples_per_batch",
    "ingest_body_mib",
    "ingest_decoded_mib",
    "ingest_gzip_ratio",
    "ingest_text_characters",
    "ingest_entities_per_batch",
    "ingest_series_per_agent",
    "ingest_batches_per_minute",
    "ingest_ahead_seconds",
    "retention_raw_days",
    "retention_5m_days",
)
FRESH_SECONDS = 10.0

Limits = Mapping[str, float]
held: dict[str, tuple[float, Limits]] = {}  # of this process


def limits_get() -> Limits:
    """All limits by the names of their settings."""
    now = time.monotonic()
    known = held.get("limits")
    if known is None or now - known[0] > FRESH_SECONDS:
        known = held["limits"] = (now, settings_get(*NAMES))
    return known[1]
