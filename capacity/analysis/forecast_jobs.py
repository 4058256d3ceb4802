"""The nightly and the hourly work: each deployment, node and accelerator by its turn."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from django.db.models import Model

from capacity.analysis.forecast_make import BY_HORIZON, Read, read_newest, read_to_learn, run_condition, runs_learn
from capacity.analysis.forecast_series import DEMAND
from capacity.analysis.imported import imports_hurry
from capacity.analysis.turns import Job, Keep, turn_early, turns_due, turns_hurry, turns_work
from capacity.models import ForecastRun, Horizon, Turn
from monitoring.catalog.records import Entity
from monitoring.models import Accelerator, Deployment, DeploymentState, Node, WorkloadKind

NIGHT = Job("forecast_fit", every=timedelta(days=1), begins=timedelta(minutes=20), spread=timedelta(hours=5))
HOURLY = Job("forecast_hour", every=timedelta(hours=1), begins=timedelta(minutes=4), spread=timedelta(minutes=20))
FIT_BATCH, CONDITION_BATCH = 10, 25
SOON = timedelta(hours=2)  # what is too young to be forecast is looked at again
MORE_HISTORY = timedelta(days=8)  # longer than a gap that is learned around
KEYS = ("deployment", "node", "accelerator", "quantity", "horizon")
CONDITIONED = (
    *("made_at", "start_at", "levels", "quantiles", "method", "flags", "note", "refusal", "trained_from", "trained_until"),
    *("said", "inputs_digest", "code_version"),
)
LEARNED = (*CONDITIONED, "fitted_at", "step_seconds", "backtest", "fitted")
MODELS: dict[Entity, type[Model]] = {Entity.DEPLOYMENT: Deployment, Entity.NODE: Node, Entity.ACCELERATOR: Accelerator}
Clock = Callable[[], datetime]


def subject_of(entity: Entity, pk: int) -> str:
    return f"{entity.value}:{pk}"


def subject_read(subject: str) -> tuple[Entity, int]:
    kind, _, number = subject.partition(":")
    return Entity(kind), int(number)


def subjects_to_learn() -> list[str]:
    """Whatever serves requests, and the machines whose disks and memory may run full."""
    serving = Deployment.objects.filter(state=DeploymentState.ACTIVE, workload_kind=WorkloadKind.SERVING)
    rows = (
        (Entity.DEPLOYMENT, serving),
        (Entity.NODE, Node.objects.all()),
        (Entity.ACCELERATOR, Accelerator.objects.filter(node__isnull=False)),
    )
    return [subject_of(entity, pk) for entity, found in rows for pk in found.values_list("pk", flat=True)]


def forecasts_fit(*, clock: Clock, budget_seconds: float) -> str:
    """Learn what is due. Returns one line of summary, empty when there was nothing to do."""
    now = clock()
    due = turns_due(NIGHT, subjects_to_learn(), now=now) + imports_hurry(NIGHT, now=now)
    done, failed = turns_work(NIGHT, fit_load, clock=clock, budget_seconds=budget_seconds, batch=FIT_BATCH) if due else (0, 0)
    return summary_of("learned", done=done, failed=failed, due=due)


def forecasts_condition(*, clock: Clock, budget_seconds: float) -> str:
    """Bring what the night learned up to now."""
    learned = ForecastRun.objects.filter(deployment__state=DeploymentState.ACTIVE, fitted__isnull=False)
    subjects = {subject_of(Entity.DEPLOYMENT, pk) for pk in learned.values_list("deployment_id", flat=True).distinct() if pk}
    due = turns_due(HOURLY, subjects, now=clock())
    done, failed = turns_work(HOURLY, condition_load, clock=clock, budget_seconds=budget_seconds, batch=CONDITION_BATCH) if due else (0, 0)
    return summary_of("brought up to now", done=done, failed=failed, due=due)


def summary_of(what: str, *, done: int, failed: int, due: int) -> str:
    if not due:
        return ""
    left = max(due - done - failed, 0)
    parts = [f"{done} forecasts {what}", *([f"{failed} failed"] if failed else []), *([f"{left} left to do"] if left else [])]
    return ", ".join(parts)


def fit_load(turns: Sequence[Turn], now: datetime) -> Callable[[Turn], Keep]:
    by_entity: dict[Entity, list[int]] = defaultdict(list)
    for turn in turns:
        entity, pk = subject_read(turn.subject)
        by_entity[entity].append(pk)
    reads = {(entity, pk): read for entity, ids in by_entity.items() for pk, read in read_to_learn(entity, ids, now=now).items()}

    def work(turn: Turn) -> Keep:
        runs = runs_learn(reads[subject_read(turn.subject)], now=now)
        return lambda: fit_keep(turn, runs, now=now)

    return work


def fit_keep(turn: Turn, runs: list[ForecastRun], *, now: datetime) -> None:
    """A quantity that is not measured any more loses its forecasts. What is young is looked at again before the next night."""
    entity, pk = subject_read(turn.subject)
    if not MODELS[entity]._default_manager.filter(pk=pk).exists():
        return  # deleted meanwhile
    ForecastRun.objects.bulk_create(runs, update_conflicts=True, unique_fields=KEYS, update_fields=LEARNED)
    ForecastRun.objects.filter(**{f"{entity.value}_id": pk}).exclude(quantity__in={run.quantity for run in runs}).delete()
    if any(young(run) for run in runs):
        turn_early(turn, at=now + SOON)


def young(run: ForecastRun) -> bool:
    """Two days of history are not there yet, but something is."""
    return run.quantity == DEMAND and run.horizon == Horizon.DAY and ("thin" in run.flags or " needs " in run.refusal)


def condition_load(turns: Sequence[Turn], now: datetime) -> Callable[[Turn], Keep]:
    ids = [subject_read(turn.subject)[1] for turn in turns]
    reads = read_newest(ids, now=now)
    runs: dict[int, list[ForecastRun]] = defaultdict(list)
    for run in ForecastRun.objects.filter(deployment__in=ids, fitted__isnull=False).defer("backtest", "quantiles"):
        runs[run.deployment_id or 0].append(run)

    def work(turn: Turn) -> Keep:
        _, pk = subject_read(turn.subject)
        grown = any(has_grown(run, reads[pk], now=now) for run in runs[pk])
        good = [run for run in runs[pk] if run_condition(run, reads[pk], now=now)]
        return lambda: condition_keep(turn, good, learn=grown or len(good) < len(runs[pk]), now=now)

    return work


def condition_keep(turn: Turn, runs: list[ForecastRun], *, learn: bool, now: datetime) -> None:
    """Unless they were learned anew meanwhile. learn: what was learned cannot be read by this version, or more can be learned now."""
    for run in runs:
        values = {name: getattr(run, name) for name in CONDITIONED}
        ForecastRun.objects.filter(pk=run.pk, fitted_at=run.fitted_at).update(**values)
    if learn:
        turns_hurry(NIGHT, [turn.subject], now=now)


def has_grown(run: ForecastRun, read: Read, *, now: datetime) -> bool:
    """A week more of history than was learned from has come in since: an import has ended."""
    begins = read.first_known(run.quantity, BY_HORIZON[Horizon(run.horizon)])
    if begins is None or run.trained_from is None or run.fitted_at is None:
        return False
    return begins < run.trained_from - MORE_HISTORY and run.fitted_at < now - SOON
