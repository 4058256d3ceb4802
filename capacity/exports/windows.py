"""A floor by hour as windows of a clock: equal neighbours joined, the same window of several weekdays told once."""

from collections.abc import Sequence
from dataclasses import dataclass

DAY_HOURS, WEEK_HOURS, DAYS = 24, 168, 7
DAY_MINUTES, WEEK_MINUTES = 1440, 10_080
MOST_WINDOWS = 24  # each is one more metric the autoscaler asks for twice a minute


@dataclass(frozen=True)
class Run:
    """Neighbouring hours with the same floor, round the clock."""

    start: int  # hour of the day or of the week, Monday 00:00 UTC first
    hours: int
    replicas: int


@dataclass(frozen=True)
class Window:
    """From `start` to `end` on each of the days; cron's five fields, UTC."""

    start: str
    end: str
    replicas: int


@dataclass(frozen=True)
class Windows:
    least: int  # outside all windows
    windows: tuple[Window, ...]
    added_hours: float  # replica-hours a day over the plan, where neighbours were joined to have few windows


def windows_of(floor: Sequence[int], *, lead_minutes: int) -> Windows:
    """floor: replicas by hour of the day (24) or of the week (168), at least 1 each.

    A window starts `lead_minutes` before its first hour, so that its replicas serve from then on. At most 24 windows: beyond
    that the neighbours whose joining adds the fewest replica-hours get the higher floor of the two.
    """
    if len(floor) not in (DAY_HOURS, WEEK_HOURS) or min(floor) < 1 or lead_minutes < 0:
        raise ValueError(f"needed 24 or 168 floors of 1 or more and a lead of 0 minutes or more, got {len(floor)} and {lead_minutes}")
    values = list(floor)
    while len(groups := grouped(runs_of(values))) > MOST_WINDOWS:
        values = joined(values)
    added = (sum(values) - sum(floor)) * DAY_HOURS / len(floor)
    windows = [window_of(runs, hours=len(values), lead_minutes=lead_minutes) for runs in groups]
    return Windows(least=min(values), windows=tuple(windows), added_hours=added)


def runs_of(values: Sequence[int]) -> list[Run]:
    """All runs, in the order of the clock; one that passes its end is one run."""
    size = len(values)
    starts = [hour for hour in range(size) if values[hour] != values[hour - 1]]
    ends = starts[1:] + [start + size for start in starts[:1]]
    return [Run(start, end - start, values[start]) for start, end in zip(starts, ends, strict=True)] or [Run(0, size, values[0])]


def grouped(runs: list[Run]) -> list[list[Run]]:
    """Runs above the least floor; those that are alike but for the weekday together."""
    least = min(run.replicas for run in runs)
    groups: dict[tuple[int, int, int], list[Run]] = {}
    for run in runs:
        if run.replicas > least:
            groups.setdefault((run.start % DAY_HOURS, run.hours, run.replicas), []).append(run)
    return [groups[key] for key in sorted(groups)]


def joined(values: list[int]) -> list[int]:
    """The two neighbouring runs whose joining adds the fewest replica-hours, both at the higher floor."""
    runs = runs_of(values)
    pairs = [(run, runs[place - 1]) for place, run in enumerate(runs)]
    lower = [min(pair, key=lambda run: run.replicas) for pair in pairs]
    added = [abs(one.replicas - other.replicas) * low.hours for (one, other), low in zip(pairs, lower, strict=True)]
    best = added.index(min(added))
    raised = list(values)
    for hour in range(lower[best].start, lower[best].start + lower[best].hours):
        raised[hour % len(values)] = max(run.replicas for run in pairs[best])
    return raised


def window_of(runs: list[Run], *, hours: int, lead_minutes: int) -> Window:
    """KEDA takes a moment as inside where the next end comes before the next start: a window must end before it starts again."""
    period = DAY_MINUTES if hours == DAY_HOURS else WEEK_MINUTES
    starts = sorted(run.start for run in runs)
    gaps = [(later - start - 1) % hours + 1 - runs[0].hours for start, later in zip(starts, starts[1:] + starts[:1], strict=True)]
    lead = min(lead_minutes, min(gaps) * 60 - 1)
    begin = [(run.start * 60 - lead) % period for run in runs]
    end = [(run.start + run.hours) * 60 % period for run in runs]
    daily = hours == DAY_HOURS
    return Window(start=cron(begin, daily=daily), end=cron(end, daily=daily), replicas=runs[0].replicas)


def cron(minutes: list[int], *, daily: bool) -> str:
    """Moments of the same time of day as cron's five fields; cron's Sunday is 0, a plan's week starts on Monday."""
    days = sorted({(minute // DAY_MINUTES + 1) % DAYS for minute in minutes})
    clock = minutes[0] % DAY_MINUTES
    weekdays = "*" if daily or len(days) == DAYS else ",".join(str(day) for day in days)
    return f"{clock % 60} {clock // 60} * * {weekdays}"
