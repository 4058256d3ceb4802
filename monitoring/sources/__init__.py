"""Sources: test, discover, poll and import what a Prometheus has; the inventory by hand and by rule."""

from monitoring.sources.by_hand import (
    deployment_archive,
    deployment_ignore,
    deployment_merge,
    deployment_rename,
    deployment_restore,
)
from monitoring.sources.detect import Finding, source_test
from monitoring.sources.diagnosis import Missing, missing_metrics
from monitoring.sources.discover import inventory_discover
from monitoring.sources.imports import chunk_run, import_claim, import_pause, import_resume, import_start
from monitoring.sources.poll import Polled, source_poll, sources_due
from monitoring.sources.rules import (
    HEADER_NAME,
    LONGEST_IMPORT_DAYS,
    SELECTOR,
    STEPS,
    certificate_clean,
    credentials_missing,
    header_clean,
    selector_clean,
    url_clean,
)
from monitoring.sources.teams import team_assign, team_rules_apply

__all__ = [
    "HEADER_NAME",
    "LONGEST_IMPORT_DAYS",
    "SELECTOR",
    "STEPS",
    "certificate_clean",
    "credentials_missing",
    "header_clean",
    "selector_clean",
    "url_clean",
    "Finding",
    "Missing",
    "Polled",
    "chunk_run",
    "deployment_archive",
    "deployment_ignore",
    "deployment_merge",
    "deployment_rename",
    "deployment_restore",
    "import_claim",
    "import_pause",
    "import_resume",
    "import_start",
    "inventory_discover",
    "missing_metrics",
    "source_poll",
    "source_test",
    "sources_due",
    "team_assign",
    "team_rules_apply",
]
