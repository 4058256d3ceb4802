"""Who has what of a shared accelerator or node: own deployments by name, all foreign ones as one line."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Q, QuerySet, Sum

from monitoring.access.actors import Actor
from monitoring.access.rows import deployments_for
from monitoring.models import Accelerator, Deployment, Placement, PlacementMethod

OTHERS = "others"


@dataclass(frozen=True)
class Share:
    """What one deployment has of an accelerator or node; `deployment` is None on the line of all others."""

    deployment: Deployment | None
    ratio: float
    estimated: bool = False  # by an equal split

    @property
    def name(self) -> str:
        return self.deployment.name if self.deployment else OTHERS


def accelerator_shares(actor: Actor, ids: Iterable[int], *, at: datetime) -> dict[int, list[Share]]:
    """The shares of each accelerator at an instant, largest first, others last. Two queries, whatever the number."""
    placed = _open(at).filter(accelerator__in=list(ids))
    sums: dict[int, dict[int, tuple[float, bool]]] = defaultdict(dict)
    for row in placed.values("accelerator", "replica__deployment").annotate(total=Sum("share"), guesses=_guesses()):
        sums[row["accelerator"]][row["replica__deployment"]] = (row["total"], row["guesses"] > 0)
    return _named(actor, sums)


def node_shares(actor: Actor, ids: Iterable[int], *, at: datetime) -> dict[int, list[Share]]:
    """The shares of each node: of its accelerators where it has any, else of the node itself. Three queries."""
    nodes = list(ids)
    leaves = Accelerator.objects.filter(node__in=nodes, instances__isnull=True)
    counts = dict(leaves.values("node").annotate(count=Count("pk")).values_list("node", "count").order_by())
    placed = _open(at).filter(Q(accelerator__node__in=nodes) | Q(accelerator__isnull=True, node__in=nodes))
    sums: dict[int, dict[int, tuple[float, bool]]] = defaultdict(dict)
    groups = placed.values("accelerator__node", "node", "replica__deployment").annotate(total=Sum("share"), guesses=_guesses())
    for row in groups:
        node = row["accelerator__node"] or row["node"]
        if row["accelerator__node"] is None and counts.get(node):
            continue  # a replica without a GPU on a node of GPUs takes none of them
        ratio, guessed = sums[node].get(row["replica__deployment"], (0.0, False))
        added = row["total"] / max(counts.get(node, 1), 1)
        sums[node][row["replica__deployment"]] = (ratio + added, guessed or row["guesses"] > 0)
    return _named(actor, sums)


def _open(at: datetime) -> QuerySet[Placement]:
    return Placement.objects.filter(Q(valid_to__isnull=True) | Q(valid_to__gt=at), valid_from__lte=at)


def _guesses() -> Count:
    return Count("pk", filter=Q(method=PlacementMethod.EQUAL_SPLIT))


def _named(actor: Actor, sums: dict[int, dict[int, tuple[float, bool]]]) -> dict[int, list[Share]]:
    wanted = {deployment for group in sums.values() for deployment in group}
    visible = deployments_for(actor).in_bulk(wanted)
    return {place: _lines(group, visible) for place, group in sums.items()}


def _lines(group: dict[int, tuple[float, bool]], visible: dict[int, Deployment]) -> list[Share]:
    own = [Share(visible[pk], ratio, guessed) for pk, (ratio, guessed) in group.items() if pk in visible]
    own.sort(key=lambda share: (-share.ratio, share.name))
    foreign = [(ratio, guessed) for pk, (ratio, guessed) in group.items() if pk not in visible]
    if foreign:
        own.append(Share(None, sum(ratio for ratio, _ in foreign), any(guessed for _, guessed in foreign)))
    return own
