"""How far back each level is kept."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from monitoring.store.partitions import span_start
from monitoring.store.schema import FIFTEEN_MINUTES, FIVE_MINUTES, HOUR, RAW, Level


def kept_from(level: Level, *, now: datetime, kept: Mapping[str, float]) -> float:
    """Unix seconds of the start of the oldest partition that is kept, i.e. from where the level's rows are complete."""
    return span_start(level, now - kept_length(level, kept)).timestamp()


def kept_length(level: Level, kept: Mapping[str, float]) -> timedelta:
    unit_days = {RAW: 1.0, FIVE_MINUTES: 1.0, FIFTEEN_MINUTES: 1.0, HOUR: 365.25 / 12}
    return timedelta(days=kept[level.setting] * unit_days[level])
