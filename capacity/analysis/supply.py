"""What accelerators and nodes there are by cluster, who holds them, which are free, and how that grows by what is reserved and on order."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.db.models import Q, QuerySet

from capacity.analysis.prices import model_key
from capacity.models import SupplyOrder, SupplyState
from monitoring.catalog.records import Entity
from monitoring.models import Accelerator, Cluster, Deployment, Node, Placement
from monitoring.series import Summary, totals_load

STAYS = timedelta(days=1)  # what was not seen for longer than its neighbours was taken out
LOOKED_BACK = timedelta(days=1)
IDLE_RATIO, EMPTY_RATIO = 0.05, 0.1  # of busy time and of memory: below both nobody is on it
BUSY = ("gr_engine_active_ratio", "gpu_utilization_ratio")
MEMORY = ("gpu_memory_used_bytes", "gpu_memory_total_bytes")
WHOLE = 0.005  # a share below it is nobody's
OPEN = (SupplyState.RESERVED, SupplyState.ON_ORDER)


@dataclass(frozen=True)
class Stock:
    """Accelerators of one model in one cluster, as far as the reader sees them; MIG instances by their profile."""

    model: str  # as its driver names it
    there: int
    own: float  # held by deployments the reader sees, by share
    others: float  # held by others
    free: int  # held by nobody, and idle for a day
    unattributed: int  # held by nobody known, yet something is on it
    unmeasured: int  # held by nobody, and not measured: it cannot be told
    reserved: int
    on_order: int

    @property
    def not_known(self) -> int:
        return self.unattributed + self.unmeasured


@dataclass(frozen=True)
class ClusterSupply:
    cluster: Cluster
    nodes: int
    stocks: tuple[Stock, ...]
    orders: tuple[SupplyOrder, ...]  # open, the next to arrive first


@dataclass(frozen=True)
class SupplyStep:
    """So many accelerators of a model from a moment on."""

    time: float  # Unix seconds; an order counts from the start of its day, UTC
    accelerators: int
    label: str = ""  # what arrives
    order: int | None = None


@dataclass(frozen=True)
class Steps:
    """What is there now and what comes; `undated` and `late` are on order and not counted."""

    steps: tuple[SupplyStep, ...]
    undated: int
    late: int


@dataclass(frozen=True)
class Free:
    """Accelerators of a model in a cluster that somebody could take now."""

    count: int
    unmeasured: int  # nobody is known on them, but it cannot be told
    there: int


@dataclass(frozen=True)
class Held:
    """What one replica of a deployment holds, on average."""

    accelerators: float
    model: str  # the one most of them are of
    replicas: int


def stock_name(accelerator: Accelerator) -> str:
    model = accelerator.model_name or "model not known"
    return f"{model} MIG {accelerator.mig_profile}" if accelerator.mig_profile else model


def present(accelerators: Iterable[Accelerator]) -> list[Accelerator]:
    """Those still there: what its cluster's newest outlived by a day was taken out."""
    rows = list(accelerators)
    newest: dict[int, datetime] = {}
    for row in rows:
        newest[row.cluster_id] = max(newest.get(row.cluster_id, row.last_seen_at), row.last_seen_at)
    return [row for row in rows if row.last_seen_at >= newest[row.cluster_id] - STAYS]


def supply_load(
    clusters: QuerySet[Cluster],
    *,
    accelerators: QuerySet[Accelerator],
    nodes: QuerySet[Node],
    own: QuerySet[Deployment],
    now: datetime,
) -> list[ClusterSupply]:
    """By cluster, of the accelerators and nodes given; `own` are the deployments whose shares are the reader's."""
    cards = present(accelerators.filter(instances__isnull=True, cluster__in=clusters).order_by("model_name", "mig_profile", "pk"))
    shares = shares_load([card.pk for card in cards], own=own, now=now)
    bare = bare_load([card.pk for card in cards if card.pk not in shares], now=now)
    orders: dict[int, list[SupplyOrder]] = defaultdict(list)
    for order in SupplyOrder.objects.filter(cluster__in=clusters, state__in=OPEN):
        orders[order.cluster_id].append(order)
    counts: dict[int, int] = defaultdict(int)
    for cluster in nodes.filter(cluster__in=clusters, last_seen_at__gte=now - STAYS).values_list("cluster", flat=True):
        counts[cluster] += 1
    found = [
        ClusterSupply(
            cluster,
            counts[cluster.pk],
            stocks([card for card in cards if card.cluster_id == cluster.pk], shares=shares, bare=bare, orders=orders[cluster.pk]),
            tuple(orders[cluster.pk]),
        )
        for cluster in clusters.order_by("name")
    ]
    return [each for each in found if each.nodes or each.stocks or each.orders]


def shares_load(ids: Sequence[int], *, own: QuerySet[Deployment], now: datetime) -> dict[int, tuple[float, float]]:
    """Accelerator -> (own share, others' share) at this moment; those nobody holds are left out. Two queries."""
    held = Placement.objects.filter(Q(valid_to__isnull=True) | Q(valid_to__gt=now), valid_from__lte=now, accelerator__in=ids)
    mine = set(own.values_list("pk", flat=True))
    sums: dict[int, tuple[float, float]] = {}
    for card, deployment, share in held.values_list("accelerator", "replica__deployment", "share"):
        first, second = sums.get(card, (0.0, 0.0))
        sums[card] = (first + share, second) if deployment in mine else (first, second + share)
    return {card: pair for card, pair in sums.items() if sum(pair) > WHOLE}


def bare_load(ids: Sequence[int], *, now: datetime) -> dict[int, str]:
    """Of accelerators nobody is known to hold: free, unattributed (something is on it) or unmeasured, by the last day."""
    totals = totals_load(Entity.ACCELERATOR, ids, (*BUSY, *MEMORY), start=now - LOOKED_BACK, end=now)
    return {pk: bare_word(totals.get(pk, {})) for pk in ids}


def bare_word(totals: Mapping[str, Summary]) -> str:
    known = {name: row.mean for name, row in totals.items() if row.count > 0}
    busy = next((known[name] for name in BUSY if name in known), None)
    used, total = (known.get(name) for name in MEMORY)
    memory = used / total if used is not None and total else None
    if busy is None and memory is None:
        return "unmeasured"
    return "free" if (busy or 0.0) < IDLE_RATIO and (memory or 0.0) < EMPTY_RATIO else "unattributed"


def stocks(
    cards: Sequence[Accelerator],
    *,
    shares: Mapping[int, tuple[float, float]],
    bare: Mapping[int, str],
    orders: Sequence[SupplyOrder],
) -> tuple[Stock, ...]:
    groups: dict[str, list[Accelerator]] = defaultdict(list)
    for card in cards:
        groups[stock_name(card)].append(card)
    coming: dict[tuple[str, str], int] = defaultdict(int)
    for order in orders:
        if order.accelerators:
            coming[model_among(order.accelerator_model, groups), order.state] += order.accelerators
    names = sorted({*groups, *(model for model, _ in coming)})
    return tuple(
        Stock(
            model=name,
            there=len(groups.get(name, ())),
            own=min(sum(shares.get(card.pk, (0.0, 0.0))[0] for card in groups.get(name, ())), float(len(groups.get(name, ())))),
            others=sum(shares.get(card.pk, (0.0, 0.0))[1] for card in groups.get(name, ())),
            **{word: sum(bare.get(card.pk) == word for card in groups.get(name, ())) for word in ("free", "unattributed", "unmeasured")},
            reserved=coming[name, SupplyState.RESERVED],
            on_order=coming[name, SupplyState.ON_ORDER],
        )
        for name in names
    )


def model_among(wanted: str, models: Collection[str]) -> str:
    """The model an order means: as its driver names it, or the one that begins so ("H100" of "NVIDIA H100 80GB HBM3")."""
    key = model_key(wanted)
    same = [model for model in models if model_key(model) == key]
    begins = [model for model in models if model_key(model).startswith(f"{key} ")]
    return same[0] if same else begins[0] if len(begins) == 1 else wanted


def supply_steps(cluster: Cluster, *, model: str, now: datetime) -> Steps:
    """Accelerators of the model in the cluster over time. What is on order without a day, or late, is not counted on."""
    cards = [card for card in present(Accelerator.objects.filter(cluster=cluster, instances__isnull=True)) if stock_name(card) == model]
    models = set(Accelerator.objects.filter(cluster=cluster).values_list("model_name", flat=True).distinct()) | {model}
    rows = SupplyOrder.objects.filter(cluster=cluster, state__in=OPEN, accelerators__gt=0)
    meant = [order for order in rows if model_among(order.accelerator_model, models) == model]
    count, steps = len(cards), [SupplyStep(now.timestamp(), len(cards))]
    today = now.astimezone(UTC).date()
    for order in sorted(
        (each for each in meant if each.arrives_on and each.arrives_on >= today), key=lambda each: each.arrives_on or today
    ):
        count += order.accelerators
        steps.append(SupplyStep(max(day_start(order.arrives_on or today), now.timestamp()), count, order_label(order), order.pk))
    return Steps(
        tuple(steps),
        undated=sum(order.accelerators for order in meant if order.arrives_on is None),
        late=sum(order.accelerators for order in meant if order.arrives_on is not None and order.arrives_on < today),
    )


def orders_open(cluster: Cluster) -> bool:
    """Is anything reserved or on order for it?"""
    return SupplyOrder.objects.filter(cluster=cluster, state__in=OPEN, accelerators__gt=0).exists()


def day_start(day: date) -> float:
    return datetime.combine(day, time(), tzinfo=UTC).timestamp()


def order_label(order: SupplyOrder) -> str:
    """ "2 H100 on order arrive"."""
    parts = [f"{order.accelerators} {order.accelerator_model}"] if order.accelerators else []
    parts += (
        [f"{order.nodes} {order.instance_type or 'node'}{'' if order.instance_type or order.nodes == 1 else 's'}"] if order.nodes else []
    )
    one = order.accelerators + order.nodes == 1
    return f"{' and '.join(parts)} {'reserved' if order.state == SupplyState.RESERVED else 'on order'} {'arrives' if one else 'arrive'}"


def accelerators_free(cluster: Cluster, *, model: str, now: datetime) -> Free:
    """Of a model in a cluster, whoever asks: how many are free is the install's business, whose the others are is not said."""
    cards = [card for card in present(Accelerator.objects.filter(cluster=cluster, instances__isnull=True)) if stock_name(card) == model]
    shares = shares_load([card.pk for card in cards], own=Deployment.objects.none(), now=now)
    words = list(bare_load([card.pk for card in cards if card.pk not in shares], now=now).values())
    return Free(words.count("free"), words.count("unmeasured"), len(cards))


def held_load(deployment: Deployment, *, now: datetime) -> Held | None:
    """None where no replica of it is known to hold an accelerator now."""
    rows = Placement.objects.filter(
        Q(valid_to__isnull=True) | Q(valid_to__gt=now), valid_from__lte=now, replica__deployment=deployment, accelerator__isnull=False
    ).select_related("accelerator")
    models: dict[str, float] = defaultdict(float)
    replicas = set()
    for row in rows:
        if row.accelerator is not None:
            models[stock_name(row.accelerator)] += row.share
            replicas.add(row.replica_id)
    if not replicas:
        return None
    return Held(sum(models.values()) / len(replicas), max(models, key=lambda name: models[name]), len(replicas))
