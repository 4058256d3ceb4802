"""Accelerators of one model that deployments hold, could take, and will have when orders arrive."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from capacity.analysis.supply import Steps, bare_load, present, shares_load, stock_name, supply_steps
from monitoring.models import Accelerator, Cluster, Deployment


@dataclass(frozen=True)
class StockStep:
    """So many may be used from a moment on; a part of one, where it is shared."""

    time: float
    accelerators: float
    label: str = ""


@dataclass(frozen=True)
class ModelStock:
    model: str
    held: float  # by these deployments
    free: int
    others: float  # held by others, or by nobody known
    steps: tuple[StockStep, ...]  # what these deployments may use, from each moment on
    waiting: int  # on order without a day, or late: not counted

    @property
    def sentence(self) -> str:
        words = f"{self.held:g} {self.model} held, {self.free} free"
        words = f"{words}, {self.others:g} of others or nobody known." if self.others else f"{words}."
        coming = self.steps[-1].accelerators - self.steps[0].accelerators
        words = f"{words} {coming:g} more arrive." if coming > 0 else words
        return f"{words} {self.waiting} on order without a day, or late, are not counted." if self.waiting else words


def stock_load(model: str, deployments: Sequence[Deployment], *, now: datetime) -> ModelStock:
    """Over the clusters of the deployments."""
    clusters = {deployment.cluster_id for deployment in deployments}
    cards = [
        card for card in present(Accelerator.objects.filter(cluster__in=clusters, instances__isnull=True)) if stock_name(card) == model
    ]
    own = Deployment.objects.filter(pk__in=[deployment.pk for deployment in deployments])
    shares = shares_load([card.pk for card in cards], own=own, now=now)
    words = list(bare_load([card.pk for card in cards if card.pk not in shares], now=now).values())
    held, free = sum(mine for mine, _ in shares.values()), words.count("free")
    arrivals = [supply_steps(cluster, model=model, now=now) for cluster in Cluster.objects.filter(pk__in=clusters)]
    steps = usable(held + free, arrivals=arrivals, now=now)
    waiting = sum(found.undated + found.late for found in arrivals)
    return ModelStock(model, round(held, 3), free, round(max(0.0, len(cards) - held - free), 3), steps, waiting)


def usable(have: float, *, arrivals: Sequence[Steps], now: datetime) -> tuple[StockStep, ...]:
    """From what is held or free, each arrival on top."""
    gains = [
        (after.time, after.accelerators - before.accelerators, after.label) for each in arrivals for before, after in pairwise(each.steps)
    ]
    steps = [StockStep(now.timestamp(), have)]
    for time, gain, label in sorted(gains):
        steps.append(StockStep(time, steps[-1].accelerators + gain, label))
    return tuple(steps)
