"""Telemetry that changes its owner: the history of a merged deployment becomes that of its target."""

from collections.abc import Mapping

from django.db import connection, transaction

from monitoring.store.schema import LATENCY, LEVELS, table_name


def deployment_rekey(source: int, *, target: int, versions: Mapping[int, int]) -> dict[int, int]:
    """Move all rows of deployment `source` to `target`, each version to the one it maps to. Returns how many rows of each moved.

    `versions` must name every version of the source, 0 included, and none that the target has rows of: then no key can meet another.
    """
    moved = dict.fromkeys(versions, 0)
    with transaction.atomic(), connection.cursor() as cursor:
        for family in ("deployment", LATENCY):
            for level in LEVELS:
                table = table_name(family, level)
                for old, new in versions.items():
                    cursor.execute(
                        f"UPDATE {table} SET deployment_id = %s, version_id = %s WHERE deployment_id = %s AND version_id = %s",
                        [target, new, source, old],
                    )
                    moved[old] += cursor.rowcount
    return moved
