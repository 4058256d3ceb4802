"""Who works on a row: taken by a conditional UPDATE, renewed while working, checked again at the end (fencing)."""

import time
import uuid
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Model, Q

LEASE = timedelta(seconds=90)
RENEW_SECONDS = 20.0


class LeaseLost(Exception):
    """Somebody else has the row now: stop, and leave it alone."""


class Clock:
    """The injected `now`, moving with the monotonic clock."""

    def __init__(self, now: datetime) -> None:
        self.start = now
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.seconds)


def lease_token(owner: str) -> str:
    """The owner's name, made unique: two runs of one worker are two owners."""
    return f"{owner[:40]}/{uuid.uuid4().hex[:12]}"


class Lease:
    """A lease on one row with `lease_owner` and `lease_until`."""

    def __init__(self, row: Model, *, token: str, clock: Clock) -> None:
        self.manager = type(row)._default_manager
        self.pk = row.pk
        self.clock = clock
        self.token = token
        self._renewed = clock.seconds

    @classmethod
    def adopt(cls, row: Any, *, clock: Clock) -> "Lease":
        """The lease that was taken when the row was claimed."""
        return cls(row, token=row.lease_owner, clock=clock)

    def take(self, **conditions: Any) -> bool:
        """True when the row was free (or its lease had run out) and is ours now."""
        now = self.clock.now()
        free = Q(lease_until__isnull=True) | Q(lease_until__lte=now)
        rows = self.manager.filter(free, pk=self.pk, **conditions)
        return rows.update(lease_owner=self.token, lease_until=now + LEASE) == 1

    def renew(self) -> None:
        if self.clock.seconds - self._renewed >= RENEW_SECONDS:
            self._renewed = self.clock.seconds
            self.write(lease_until=self.clock.now() + LEASE)

    def write(self, **fields: Any) -> None:
        """Change the row only while it is ours."""
        if self.manager.filter(pk=self.pk, lease_owner=self.token).update(**fields) != 1:
            raise LeaseLost(f"the lease on {self.manager.model.__name__} {self.pk} went to another worker")

    def release(self, **fields: Any) -> None:
        self.write(lease_owner="", lease_until=None, **fields)
