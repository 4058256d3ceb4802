"""Partitions made ahead, packed when their time is over and dropped by age: a job each, so that one that fails stops no other."""

from datetime import datetime, timedelta

from monitoring.models import setting_get, settings_get
from monitoring.store.packing import family_pack
from monitoring.store.partitions import partitions_create_between, partitions_drop_before
from monitoring.store.retention import kept_from
from monitoring.store.schema import FAMILIES, FIFTEEN_MINUTES, FIVE_MINUTES, HOUR, RAW
from monitoring.store.watermarks import moment


def partitions_ahead(*, now: datetime) -> str:
    """Make all partitions from today to some days ahead. One line of summary."""
    days = setting_get("partitions_ahead_days")
    made = partitions_create_between(now, now + timedelta(days=days))
    return f"{made} partitions made, {days:g} days ahead"


def partitions_pack(*, now: datetime) -> str:
    """Pack the partitions of 5 and 15 minutes that have ended; must not run inside a transaction. One line of summary."""
    packed = [name for family in FAMILIES for level in (FIVE_MINUTES, FIFTEEN_MINUTES) for name in family_pack(family, level, now=now)]
    return f"{len(packed)} partitions packed" + (f": {', '.join(packed[:5])}" if packed else "")


def partitions_drop(*, now: datetime) -> str:
    """Drop the partitions past their retention; must not run inside a transaction. One line of summary."""
    kept = settings_get("retention_raw_days", "retention_5m_days", "retention_1h_months")
    dropped = [
        name
        for level in (RAW, FIVE_MINUTES, FIFTEEN_MINUTES, HOUR)
        for family in FAMILIES
        for name in partitions_drop_before(family, level, moment(kept_from(level, now=now, kept=kept)))
    ]
    return f"{len(dropped)} partitions dropped" + (f": {', '.join(dropped[:5])}" if dropped else "")
