"""Which replica has which share of an accelerator: pod labels of the GPU exporter first, then requests, then the node."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitoring.models import Placement, PlacementMethod

SLACK = timedelta(minutes=10)  # two spells this near are one

Spell = tuple[datetime, datetime]
Pod = tuple[str, str, str]  # cluster, namespace, name


@dataclass(frozen=True)
class Card:
    """An accelerator in the span looked at; pods: who held it by the exporter's labels, and when."""

    pk: int
    node: int | None
    seen: Spell
    pods: Mapping[Pod, Spell]


@dataclass(frozen=True)
class Tenant:
    """A replica that may hold accelerators."""

    pk: int
    deployment: int
    pod: Pod
    node: int | None
    seen: Spell
    requested: float = 0.0  # accelerators requested from the scheduler


@dataclass(frozen=True)
class Wish:
    replica: int
    accelerator: int
    share: float
    method: PlacementMethod
    spell: Spell
    ended: bool  # the card was seen later without it


def overlap(one: Spell, other: Spell) -> Spell | None:
    """The time two spells share; one that begins where the other ends shares nothing."""
    start, end = max(one[0], other[0]), min(one[1], other[1])
    return (start, end) if start < end or one == other else None


def placements_wish(cards: Sequence[Card], *, tenants: Sequence[Tenant], has_requests: bool) -> list[Wish]:
    """The placements of a span; the shares of one accelerator at one time add up to at most 1.

    has_requests: the scheduler's requests are known, so that a pod without one holds nothing.
    """
    by_pod: dict[Pod, list[Tenant]] = {}
    by_node: dict[int, list[Tenant]] = {}
    for tenant in tenants:
        by_pod.setdefault(tenant.pod, []).append(tenant)
        if tenant.node is not None:
            by_node.setdefault(tenant.node, []).append(tenant)
    wishes: list[Wish] = []
    unlabelled: dict[int, list[Card]] = {}
    for card in cards:
        named = {pod: spell for pod, spell in card.pods.items() if pod in by_pod}
        if named:
            wishes += labelled(card, named=handed_over(named), by_pod=by_pod)
        elif card.node is not None:
            unlabelled.setdefault(card.node, []).append(card)
    for node, group in unlabelled.items():
        wishes += on_node(group, tenants=by_node.get(node, []), has_requests=has_requests)
    return wishes


def handed_over(spells: Mapping[Pod, Spell]) -> dict[Pod, Spell]:
    """Spells cut where the next holder begins: Prometheus shows a series for five minutes after its last sample."""
    out = dict(spells)
    for pod, (start, end) in spells.items():
        nexts = [other[0] for other in spells.values() if start < other[0] < end <= other[1] and end - other[0] <= SLACK]
        out[pod] = (start, min(nexts, default=end))
    return out


def labelled(card: Card, *, named: Mapping[Pod, Spell], by_pod: Mapping[Pod, Sequence[Tenant]]) -> list[Wish]:
    """Pods that hold the card at the same time share it evenly; so do the deployments of one pod."""
    wishes = []
    for pod, spell in named.items():
        together = sum(overlap(spell, other) is not None for other in named.values())
        tenants = by_pod[pod]
        split = len(tenants) * together
        method = PlacementMethod.POD_LABEL if split == 1 else PlacementMethod.EQUAL_SPLIT
        wishes += [Wish(tenant.pk, card.pk, 1 / split, method, spell, spell[1] < card.seen[1]) for tenant in tenants]
    return wishes


def on_node(cards: Sequence[Card], *, tenants: Sequence[Tenant], has_requests: bool) -> list[Wish]:
    """Cards nobody labelled, on one node."""
    if has_requests:
        asking = [tenant for tenant in tenants if tenant.requested > 0]
        per_pod = {tenant.pod: tenant.requested for tenant in asking}
        whole = max(float(len(cards)), sum(per_pod.values()))
        shares = {tenant.pk: per_pod[tenant.pod] / whole / sum(t.pod == tenant.pod for t in asking) for tenant in asking}
        method = PlacementMethod.REQUEST
    else:
        asking = list(tenants)
        shares = {tenant.pk: 1 / len(asking) for tenant in asking}
        alone = len({tenant.deployment for tenant in asking}) == 1
        method = PlacementMethod.NODE_ONLY if alone else PlacementMethod.EQUAL_SPLIT
    wishes = []
    for card in cards:
        for tenant in asking:
            spell = overlap(card.seen, tenant.seen)
            if spell:
                wishes.append(Wish(tenant.pk, card.pk, shares[tenant.pk], method, spell, spell[1] < card.seen[1]))
    return wishes


def placements_record(wishes: Iterable[Wish], *, cards: Iterable[int], start: datetime, end: datetime, live: bool) -> int:
    """Bring the table to what a span showed. Returns how many rows changed.

    live: the span ends now, so that what is there stays open and what is gone is closed; else the span is history
    and only lengthens or adds. Placements by hand are left alone.
    """
    wanted = {(one.replica, one.accelerator): one for one in wishes}
    rows = Placement.objects.filter(accelerator__in=list(cards)).exclude(method=PlacementMethod.HAND).order_by("valid_from")
    near: dict[tuple[int, int], Placement] = {}
    changed = 0
    for row in rows:
        pair = (row.replica_id, row.accelerator_id or 0)
        if (row.valid_to is None or row.valid_to >= start - SLACK) and row.valid_from <= end + SLACK:
            near[pair] = row
        if live and row.valid_to is None and pair not in wanted:
            row.valid_to = end
            row.save(update_fields=["valid_to"])
            changed += 1
    new = []
    for pair, one in wanted.items():
        known = near.get(pair)
        if known is None:
            valid_to = None if live and not one.ended else one.spell[1]
            new.append(
                Placement(
                    replica_id=one.replica,
                    accelerator_id=one.accelerator,
                    share=one.share,
                    method=one.method,
                    valid_from=one.spell[0],
                    valid_to=valid_to,
                )
            )
        else:
            changed += placement_renew(known, one, live=live)
    Placement.objects.bulk_create(new, ignore_conflicts=True)
    return changed + len(new)


def placement_renew(known: Placement, one: Wish, *, live: bool) -> int:
    """Lengthen a row to the spell; a live spell that goes on opens it again, one that ended closes it."""
    before = (known.valid_from, known.valid_to, known.share, known.method)
    known.valid_from = min(known.valid_from, one.spell[0])
    if live:
        known.share, known.method = one.share, one.method
        known.valid_to = one.spell[1] if one.ended else None
    elif known.valid_to is not None:
        known.valid_to = max(known.valid_to, one.spell[1])
    if before == (known.valid_from, known.valid_to, known.share, known.method):
        return 0
    known.save(update_fields=["valid_from", "valid_to", "share", "method"])
    return 1
