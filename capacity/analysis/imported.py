"""What was made before an import ended rests on less than is stored now: its turn comes again, instead of in the night."""

from datetime import datetime, timedelta

from capacity.analysis.turns import Job, turns_hurry
from monitoring.catalog.records import Entity
from monitoring.models import Accelerator, Deployment, ImportRun, Node, RunState

KNOWN_FOR = timedelta(hours=6)  # workers may be behind; what is older waits for the night


def imports_hurry(job: Job, *, now: datetime) -> int:
    """At the end of an import, and again when the rollups hold it. Returns how many turns are due earlier. One query without imports."""
    ended = ImportRun.objects.filter(state=RunState.DONE, finished_at__gt=now - KNOWN_FOR, finished_at__lte=now)
    latest: dict[int, datetime] = {}
    for cluster, finished, rolled_up in ended.values_list("source__cluster_id", "finished_at", "rolled_up_at"):
        moment = rolled_up or finished
        if moment is not None:
            latest[cluster] = max(latest.get(cluster, moment), moment)
    return sum(turns_hurry(job, subjects_in(cluster), now=now, claimed_before=moment) for cluster, moment in latest.items())


def subjects_in(cluster: int) -> list[str]:
    rows = (
        (Entity.DEPLOYMENT, Deployment.objects.filter(cluster=cluster)),
        (Entity.NODE, Node.objects.filter(cluster=cluster)),
        (Entity.ACCELERATOR, Accelerator.objects.filter(node__cluster=cluster)),
    )
    return [f"{entity.value}:{pk}" for entity, found in rows for pk in found.values_list("pk", flat=True)]
