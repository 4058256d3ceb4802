"""Say OK, WARNING or CRITICAL by how far the rollups lag; the exit status is 0, 1 or 2, as monitoring tools read it."""

import sys
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from monitoring.models import FillState, setting_get
from monitoring.store.schema import FAMILIES, ROLLUPS, table_name

WARNING_SECONDS = 900.0
CRITICAL_SECONDS = 3600.0
WORDS = ("OK", "WARNING", "CRITICAL")


class Command(BaseCommand):
    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        level, text = fill_judge(now=timezone.now())
        self.stdout.write(f"{WORDS[level]}: {text}")
        if level:
            sys.exit(level)


def fill_judge(*, now: datetime) -> tuple[int, str]:
    """0, 1 or 2 and a sentence about the rollup that is furthest behind what it could have filled by now."""
    ends = {state.table: state.end_time for state in FillState.objects.all()}
    if not ends:
        return 1, "no rollup was filled yet; the worker runs the job monitoring.rollups_fill each minute"
    lag = setting_get("rollup_lag_seconds")
    late = {}
    for family in FAMILIES:
        for _, level in ROLLUPS:
            table = table_name(family, level)
            if table in ends:
                goal = (now.timestamp() - lag) // level.seconds * level.seconds
                late[table] = goal - ends[table].timestamp()
    worst = max(late, key=lambda table: late[table])
    text = f"{worst} is filled up to {ends[worst]:%Y-%m-%d %H:%M} UTC, {max(late[worst], 0.0) / 60:.0f} minutes behind"
    return int(late[worst] > WARNING_SECONDS) + int(late[worst] > CRITICAL_SECONDS), text
