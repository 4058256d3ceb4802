"""Which labels a rule, channel or silence means, and when a silence holds: pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase


def labels_match(labels: Mapping[str, str], matchers: Mapping[str, str]) -> bool:
    """True where every named label fits its pattern (`*` and `?` as in a shell); a label that is missing counts as empty."""
    return all(fnmatchcase(labels.get(name, ""), pattern) for name, pattern in matchers.items())


@dataclass(frozen=True)
class Span:
    """From `start` until before `end`; with repeat_days again after so many days, up to `repeat_until`."""

    start: datetime
    end: datetime
    repeat_days: int = 0
    repeat_until: datetime | None = None

    def holds(self, now: datetime) -> bool:
        if now < self.start:
            return False
        if not self.repeat_days:
            return now < self.end
        if self.repeat_until is not None and now >= self.repeat_until:
            return False
        return (now - self.start) % timedelta(days=self.repeat_days) < self.end - self.start
