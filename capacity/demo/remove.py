"""Take the demo fleet out: its telemetry at every resolution, then its rows. Killed half way, it is simply run again."""

from django.db import transaction

from capacity.demo.inventory import demo_source
from capacity.models import DemoRun, Scenario, Scope
from monitoring.catalog.records import Entity
from monitoring.models import Accelerator, Cluster, Deployment, Node, Replica, Source, Team
from monitoring.store import layouts_erase_unused, telemetry_erase

REMOVING = "removing"  # in Source.finding: stops the live writer


def demo_remove() -> str:
    """Remove everything that hangs on a demo cluster, team or source."""
    source = demo_source()
    if source is not None and REMOVING not in source.finding:
        Source.objects.filter(pk=source.pk).update(finding={**source.finding, REMOVING: True})
    ids = {
        Entity.DEPLOYMENT: list(Deployment.objects.filter(cluster__demo=True).values_list("pk", flat=True)),
        Entity.REPLICA: list(Replica.objects.filter(deployment__cluster__demo=True).values_list("pk", flat=True)),
        Entity.ACCELERATOR: list(Accelerator.objects.filter(cluster__demo=True).values_list("pk", flat=True)),
        Entity.NODE: list(Node.objects.filter(cluster__demo=True).values_list("pk", flat=True)),
    }
    erased = 0
    while rows := telemetry_erase(ids):  # again, should a rollup or a live row have slipped in meanwhile
        erased += rows
    with transaction.atomic():
        Source.objects.filter(demo=True).delete()
        Cluster.objects.filter(demo=True).delete()
        Scenario.objects.filter(scope=Scope.GROUP, members=None).delete()  # groups of nothing but demo deployments
        Team.objects.filter(demo=True).delete()
        DemoRun.objects.exclude(finished_at=None).delete()
    layouts_erase_unused()
    return f"demo fleet: {erased} rows removed"
