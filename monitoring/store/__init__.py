"""Wide tables by day: partitions, COPY, merge. The one place with raw SQL on telemetry."""

from monitoring.store.erase import layouts_erase_unused, telemetry_erase
from monitoring.store.histograms import histograms_write
from monitoring.store.records import Histograms, RollupRows, Rows, Written
from monitoring.store.write import rollups_write, rows_write

__all__ = [
    "Histograms",
    "RollupRows",
    "Rows",
    "Written",
    "histograms_write",
    "layouts_erase_unused",
    "rollups_write",
    "rows_write",
    "telemetry_erase",
]
