"""Load the demo fleet, keep it live, remove it without a trace.

Raw rows come first, so that the first page stands within seconds; then five-minute history, newest day first.
The source row carries all state: `created_at` is the anchor, `watermark` how far telemetry goes, `finding` how far back.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from capacity.demo.inventory import DemoClash, demo_source, ids_load, inventory_make, seen_update
from capacity.demo.remove import REMOVING, demo_remove
from capacity.demo.telemetry import RAW_STEP, ROLLUP_STEP, Stretch, stretch_write
from monitoring.models import Source

DAY = 86400.0
HOUR = 3600.0
RAW_SECONDS = DAY  # how much history is raw
CHUNK_SECONDS = 6 * HOUR  # of raw rows written at once
LAG_SECONDS = 30.0  # as a poll would lag behind the clock
DAYS = 28

Progress = Callable[[float, str], None]


def quiet(ratio: float, text: str) -> None:
    """Nobody watches."""


def demo_load(*, now: datetime, days: int = DAYS, progress: Progress = quiet) -> str:
    """Make the fleet and its history; go on where a killed load stopped; do nothing where all is here."""
    source = demo_source()
    if source is not None and REMOVING in source.finding:
        demo_remove()
    progress(0.01, "Hosts, accelerators and deployments")
    source = demo_source() or inventory_make(anchor=floor(now.timestamp() - LAG_SECONDS, RAW_STEP), days=days)
    anchor = source.created_at.timestamp()
    ids = ids_load()
    if not ids.complete:
        raise DemoClash("The demo fleet is of another release or was edited. Remove it, then load again.")
    progress(0.05, "The last 24 hours, minute by minute")
    demo_live(now=now)
    boundary = raw_start(anchor)
    oldest = floor(anchor - days * DAY, ROLLUP_STEP)
    at = float(source.finding.get("filled_from", boundary))
    total = max(boundary - oldest, 1.0)
    while at > oldest:
        start = max(oldest, at - DAY)
        stretch_write(Stretch(start, at, ROLLUP_STEP, anchor), ids, now=now)
        at = start
        Source.objects.filter(pk=source.pk).update(finding={"ok": True, "text": source.state_text, "filled_from": at})
        done = (boundary - at) / total
        progress(0.15 + 0.85 * done, f"{round((boundary - at) / DAY) + 1} of {days} days")
    return f"demo fleet: {len(ids.deployments)} deployments, {days} days"


def demo_live(*, now: datetime) -> str:
    """Write what is missing up to now; a stopped instance catches up, older than a day in five-minute rows."""
    source = demo_source()
    if source is None or REMOVING in source.finding:
        return "no demo fleet"
    anchor, end = source.created_at.timestamp(), floor(now.timestamp() - LAG_SECONDS, RAW_STEP)
    ids = ids_load()
    if not ids.complete:
        return "the demo fleet is of another release or was edited: remove it and load it again"
    at = source.watermark.timestamp() if source.watermark else raw_start(anchor)
    first, written = at, 0
    while at < end:
        stretch = next_stretch(at, end, anchor)
        written += stretch_write(stretch, ids, now=now).written
        at = stretch.end
        watermark_set(source, at)
    if end > first:
        seen_update(datetime.fromtimestamp(end, tz=UTC))
    return f"demo fleet: {written} samples, {(end - first) / 60:.0f} minutes"


def next_stretch(at: float, end: float, anchor: float) -> Stretch:
    """Five-minute rows as long as a whole hour of them is older than a day, then raw rows, some hours at a time."""
    coarse_end = floor(end - RAW_SECONDS, HOUR)
    if at % ROLLUP_STEP == 0 and at < coarse_end:
        return Stretch(at, min(coarse_end, at + DAY), ROLLUP_STEP, anchor)
    if at < coarse_end:  # up to the grid of the five-minute rows
        return Stretch(at, floor(at, ROLLUP_STEP) + ROLLUP_STEP, RAW_STEP, anchor)
    return Stretch(at, min(end, at + CHUNK_SECONDS), RAW_STEP, anchor)


def watermark_set(source: Source, at: float) -> None:
    source.watermark = source.polled_at = datetime.fromtimestamp(at, tz=UTC)
    source.save(update_fields=("watermark", "polled_at"))


def raw_start(anchor: float) -> float:
    """Where raw rows begin: a day before the anchor, on the hour, so that no rollup mixes both kinds."""
    return floor(anchor - RAW_SECONDS, HOUR)


def floor(seconds: float, step: float) -> float:
    return seconds - seconds % step
