"""Which labels a rule, channel or silence means, and when a silence holds: pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

MATCHERS_MOST, PATTERN_MOST = 10, 200


def matchers_read(given: object) -> dict[str, str]:
    """A mapping label -> pattern, or text: `deployment=llama*, environment=prod`. ValueError: a sentence on what cannot be."""
    if isinstance(given, Mapping):
        pairs = [(str(label).strip(), str(pattern).strip()) for label, pattern in given.items()]
    else:
        parts = [part.partition("=") for part in re.split(r"[,\n]", str(given or "")) if part.strip()]
        if not all(sign for _, sign, _ in parts):
            raise ValueError(
                f"Labels are written label=pattern with commas between, such as deployment=llama*; {str(given)[:80]!r} was given."
            )
        pairs = [(label.strip(), pattern.strip()) for label, _, pattern in parts]
    if len(pairs) > MATCHERS_MOST or any(len(pattern) > PATTERN_MOST or not label for label, pattern in pairs):
        raise ValueError(f"At most {MATCHERS_MOST} labels with patterns of {PATTERN_MOST} characters each can be named.")
    return dict(pairs)


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
