"""Taking out all telemetry of some entities, at every resolution."""

from collections.abc import Iterable, Mapping

from django.db import connection

from monitoring.catalog.records import Entity
from monitoring.models import BucketLayout
from monitoring.store.schema import LATENCY, LEVELS, id_column, table_name


def telemetry_erase(ids: Mapping[Entity, Iterable[int]]) -> int:
    """Delete every row of these entities, fine tables before the coarse ones made from them. Returns how many rows went."""
    families = {str(entity): sorted(own) for entity, own in ids.items()}
    if Entity.DEPLOYMENT in ids:
        families[LATENCY] = sorted(ids[Entity.DEPLOYMENT])
    erased = 0
    with connection.cursor() as cursor:
        for level in LEVELS:
            for family, own in families.items():
                cursor.execute(f"DELETE FROM {table_name(family, level)} WHERE {id_column(family)} = ANY(%s)", [own])
                erased += cursor.rowcount
    return erased


def layouts_erase_unused() -> int:
    """Bucket layouts that no histogram uses any more."""
    tables = " UNION ".join(f"SELECT DISTINCT layout_id FROM {table_name(LATENCY, level)}" for level in LEVELS)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT layout_id FROM ({tables}) AS used")
        used = [number for (number,) in cursor.fetchall()]
    erased, _ = BucketLayout.objects.exclude(pk__in=used).delete()
    return erased
