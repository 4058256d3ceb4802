"""Advisory locks of the store, held to the end of the transaction (so that a transaction pooler may stand between)."""

from django.db import connection

from monitoring.store.schema import FAMILIES

WRITE, FILL, CREATE = 7301, 7302, 7303  # first half of the key; the second half is the family


def family_lock(kind: int, family: str, *, shared: bool = False) -> None:
    suffix = "_shared" if shared else ""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_advisory_xact_lock{suffix}(%s, %s)", [kind, FAMILIES.index(family)])


def family_try_lock(kind: int, family: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [kind, FAMILIES.index(family)])
        return bool(cursor.fetchone()[0])
