"""A preview says what rounds over the same telemetry would have said; the incidents are planted."""

from datetime import datetime

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from monitoring.alerts.defaults import DEFAULTS
from monitoring.alerts.evaluate import alerts_evaluate
from monitoring.alerts.lifecycle import OVER, Life, Timing, Told, life_begin, life_step, recent
from monitoring.alerts.preview import SEEN, Preview, lives_run, rule_preview
from monitoring.catalog.records import Entity, Latency
from monitoring.models import Alert, Rule, Slo, SloCount
from monitoring.store import histograms_write, rollups_write, rows_write
from tests.factories import make_accelerator, make_agent, make_deployment, make_node, make_placement, make_replica, make_rule
from tests.telemetry import FRESH_SEEDS, NOON, at, make_histograms, make_rollups, make_rows, seed_of

MINUTE, STEP = 60.0, 300.0
SIMPLE: dict[str, object] = {"signal": "requests_waiting", "threshold": 10.0, "window_seconds": 60, "for_seconds": 0}
GROWTH: dict[str, object] = {"signal": "queue_growth", "threshold": 8, "window_seconds": 1200}
pytestmark = pytest.mark.django_db
Told_ = list[tuple[float, float | None]]


@pytest.fixture
def quiet() -> None:
    """The shipped rules, switched off."""
    Rule.objects.bulk_create([Rule(shipped=True, **fields | {"enabled": False}) for fields in DEFAULTS])


def dense_run(moments: np.ndarray, codes: np.ndarray, timing: Timing) -> list[tuple[float, float, bool]]:
    """Every moment stepped through, as rounds do."""
    found, began = list[tuple[float, float, bool]](), None
    life: Life | None = None
    toggles: tuple[float, ...] = ()
    for now, code in zip(moments.tolist(), codes.tolist(), strict=True):
        if life is None and code != 1:
            continue
        step = life_step(life or life_begin(now, toggles=recent(toggles, now=now)), SEEN[code], now=now, timing=timing)
        life = step.life
        began = now if began is None and step.edge in (Told.FIRE, Told.FLAPPING) else began
        if life.state in OVER:
            found += [] if began is None else [(began, now, False)]
            toggles, life, began = life.toggles, None, None
    return found + ([] if began is None else [(began, float(moments[-1]), True)])


@pytest.mark.parametrize("seed", (1, *FRESH_SEEDS))
def test_lives_in_leaps_are_those_step_by_step(seed: int | None) -> None:
    rng = np.random.default_rng(seed_of(seed))
    for _ in range(60):
        runs = rng.integers(1, 60, 40)
        codes = np.repeat(rng.choice([-1, 0, 1], 40, p=[0.15, 0.4, 0.45]), runs)
        moments = 1e9 + rng.choice([10.0, 60.0, 300.0]) * np.arange(len(codes))
        timing = Timing(float(rng.choice([0, 60, 250, 900])), float(rng.choice([0, 60, 300, 1000])))
        assert lives_run(moments, codes, timing=timing) == dense_run(moments, codes, timing)


def told_of(rule: Rule) -> Told_:
    """What rounds told, in minutes after noon."""
    rows = Alert.objects.filter(rule=rule, fired_at__isnull=False).order_by("fired_at")
    return [(minutes(alert.fired_at), minutes(alert.resolved_at) if alert.resolved_at else None) for alert in rows if alert.fired_at]


def minutes(moment: object) -> float:
    return (moment - NOON).total_seconds() / MINUTE  # type: ignore[operator, no-any-return]


def previewed(preview: Preview) -> Told_:
    return [(minutes(firing.start), None if firing.going else minutes(firing.end)) for firing in preview.firings]


def firing_steps(told: Told_, *, steps: int) -> np.ndarray:
    """Which rounds see it fire: (steps,) bool."""
    seen = np.zeros(steps, dtype=bool)
    for start, end in told:
        seen[int(start * MINUTE / STEP) : None if end is None else int(end * MINUTE / STEP)] = True
    return seen


def late(previewed: np.ndarray, told: np.ndarray, *, rounds: int) -> bool:
    """Do rounds say the same, but now and then up to so many rounds later?"""
    earlier = np.lib.stride_tricks.sliding_window_view(np.r_[np.full(rounds, previewed[0]), previewed], rounds + 1)
    steady = earlier.all(axis=1) | ~earlier.any(axis=1)
    return int((previewed != told)[steady].sum()) <= 2  # a value near the threshold may cross it twice


def rounds_play(*, count: int, step: float) -> datetime:
    for number in range(count):
        alerts_evaluate(now=at(number * step))
    return at((count - 1) * step)


def bursts(rng: np.random.Generator, size: int, *, longest: int, high: float) -> np.ndarray:
    """Zero, with a long stretch of the most and three of something."""
    values = np.zeros(size)
    first = int(rng.integers(size // 8, size // 2))
    values[first : first + longest] = high
    for start in rng.choice(np.arange(size // 8, size), 3, replace=False):
        values[start : start + rng.integers(1, longest)] = high * rng.uniform(0.3, 1.0)
    return values


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("seed", (7, None))
class TestLikeRounds:
    """Rounds at the steps of the preview, over the same telemetry with a gap in it."""

    def test_in_steps_of_a_minute(self, seed: int | None) -> None:
        rng = np.random.default_rng(seed_of(seed))
        over = make_rule("over", **SIMPLE | {"for_seconds": 120, "keep_firing_seconds": 180})
        below = make_rule("below", **SIMPLE | {"comparison": "below", "threshold": 1.0, "keep_firing_seconds": 0})
        pk = make_deployment().pk
        gap = int(rng.integers(20, 60))
        kept = [number for number in range(90) if not gap <= number < gap + 3]
        waiting = bursts(rng, 90, longest=20, high=60)[kept]
        rows_write(make_rows([MINUTE * number for number in kept], ids=pk, requests_waiting=waiting), overwrite=True)
        now = rounds_play(count=90, step=MINUTE)
        for rule in (over, below):
            assert previewed(rule_preview(rule, now=now, days=1)) == told_of(rule), rule.name

    def test_in_steps_of_five_minutes(self, seed: int | None) -> None:
        """A promise's newest minutes are judged as they arrive, so rounds see their breaking a step or two later."""
        rng, size = np.random.default_rng(seed_of(seed)), 300
        keep = {"for_seconds": 300, "keep_firing_seconds": 300}
        burn = {"threshold": 6, "window_seconds": 3600, "for_seconds": 0, "keep_firing_seconds": 300}
        mean, growth = make_rule("mean", **SIMPLE | keep | {"window_seconds": 900}), make_rule("growth", **GROWTH | keep)
        errors, latency = make_rule("errors", signal="slo_error_burn", **burn), make_rule("latency", signal="slo_latency_burn", **burn)
        pk = make_deployment().pk
        promise = {"latency": Latency.REQUEST_DURATION, "threshold_seconds": 0.5, "availability_ratio": 0.99}
        Slo.objects.create(deployment_id=pk, updated_at=at(-86400), **promise)
        gap = int(rng.integers(100, 200))
        kept = [number for number in range(size) if not gap <= number < gap + 6]
        times = [MINUTE * number for number in kept]
        waiting, failing = bursts(rng, size, longest=60, high=60)[kept], bursts(rng, size, longest=30, high=4)[kept]
        slow = bursts(rng, size, longest=30, high=1)[kept] > 0
        rows_write(make_rows(times, ids=pk, requests_waiting=waiting, errors_per_second=failing, requests_per_second=10.0), overwrite=True)
        histograms_write(make_histograms(times, [[0, 0, 100, 0] if bad else [100, 0, 0, 0] for bad in slow], ids=pk))
        now = rounds_play(count=60, step=STEP)
        for rule in (mean, growth, errors):
            assert previewed(rule_preview(rule, now=now, days=1)) == told_of(rule), rule.name
        assert told_of(errors)
        foreseen, told = (
            firing_steps(firings, steps=60) for firings in (previewed(rule_preview(latency, now=now, days=1)), told_of(latency))
        )
        assert foreseen.any() and late(foreseen, told, rounds=2)


class TestPlanted:
    def test_it_counts_the_incidents_of_two_weeks_and_says_so(self) -> None:
        rule = make_rule("queue", **SIMPLE | {"window_seconds": 300, "for_seconds": 300, "keep_firing_seconds": 300})
        times = np.arange(-14 * 86400, 0, STEP) + STEP
        waiting = np.zeros(len(times))
        waiting[100:110] = waiting[2000:2005] = waiting[3000] = 40  # the last is too short
        rollups_write(make_rollups(times.tolist(), ids=make_deployment("llama").pk, requests_waiting=waiting))
        make_deployment("unseen")
        preview = rule_preview(rule, now=NOON)
        assert preview.sentence == "Would have fired 2 times for 75 minutes in the last 14 days."
        assert [(firing.minutes, firing.worst, firing.labels["deployment"]) for firing in preview.firings] == [
            (50.0, 40.0, "llama"),
            (25.0, 40.0, "llama"),
        ]
        assert minutes(preview.firings[0].start) == times[101] / MINUTE
        assert (preview.judged_subjects, preview.step_seconds) == (1, STEP)
        assert preview.missing == "For 1 of 2 deployments nothing is stored about what this rule looks at."

    def test_minutes_lost_are_taken_from_histograms_where_nothing_was_judged(self) -> None:
        deployment = make_deployment("llama")
        Slo.objects.create(deployment=deployment, latency=Latency.REQUEST_DURATION, threshold_seconds=0.5)
        times = np.arange(-6 * 3600, 0, STEP) + STEP
        bad = (times > -3 * 3600) & (times <= -2 * 3600)
        rollups_write(make_rollups(times.tolist(), ids=deployment.pk, requests_per_second=1.0))
        histograms_write(
            make_histograms(times.tolist(), [[0, 0, 100, 0] if late else [100, 0, 0, 0] for late in bad], ids=deployment.pk), table="5m"
        )
        preview = rule_preview(Rule(**DEFAULTS[0]), now=NOON)
        assert preview.count == 1 and -3 * 60 <= minutes(preview.firings[0].start) <= -3 * 60 + 15
        assert preview.sentence.endswith("in the last 6 hours, for which there is telemetry.")
        SloCount.objects.create(deployment=deployment, end_at=at(-600), judged=5, broken=0)  # of an older promise
        assert rule_preview(Rule(**DEFAULTS[0]), now=NOON).count == 1

    def test_memory_errors_and_skewed_replicas(self) -> None:
        card, deployment = make_accelerator(make_node()), make_deployment()
        times = np.arange(-7200, 0, STEP) + STEP
        rollups_write(make_rollups(times.tolist(), Entity.ACCELERATOR, ids=card.pk, ecc_uncorrected_errors=np.where(times > -3600, 3, 2)))
        for running in (2, 2, 9):
            replica = make_replica(deployment, last_seen_at=NOON)
            busy = np.where((times > -3600) & (times <= -1800), running, 2)
            rollups_write(make_rollups(times.tolist(), Entity.REPLICA, ids=replica.pk, requests_running=busy))
        ecc = rule_preview(Rule(**next(fields for fields in DEFAULTS if fields["name"] == "gpu-memory-errors")), now=NOON)
        assert [(minutes(firing.start), firing.worst) for firing in ecc.firings] == [(-55.0, 1.0)]
        skew = rule_preview(
            make_rule(signal="replica_skew", threshold=1.5, window_seconds=300, for_seconds=0, keep_firing_seconds=0), now=NOON
        )
        assert [(minutes(firing.start), minutes(firing.end), firing.worst) for firing in skew.firings] == [(-55.0, -25.0, 4.5)]

    def test_silence_is_seen_where_its_gap_stayed(self) -> None:
        agent = make_agent("gpu-1", last_seen_at=NOON)
        times = [second for second in np.arange(-86400, 0, STEP) + STEP if not -7200 < second <= -3600]
        rollups_write(make_rollups(times, Entity.NODE, ids=agent.node_id, cpu_utilization_ratio=0.5))
        preview = rule_preview(Rule(**next(fields for fields in DEFAULTS if fields["name"] == "agent-silent")), now=NOON)
        assert [(minutes(firing.start), minutes(firing.end)) for firing in preview.firings] == [(-100.0, -55.0)]
        assert preview.missing.startswith("What was sent after a silence has filled its gap")

    @pytest.mark.parametrize(("signal", "entity"), [("clock_skew_seconds", "agent"), ("source_silent_seconds", "source")])
    def test_what_is_not_kept_is_said(self, signal: str, entity: str) -> None:
        preview = rule_preview(make_rule(signal=signal, entity=entity, threshold=1), now=NOON)
        assert preview.count == 0 and "is not kept" in preview.missing and preview.sentence.startswith("Nothing could be judged")


class TestWhoAsks:
    def test_only_what_the_asker_may_see_is_judged(self) -> None:
        own, other = make_deployment("own"), make_deployment("other")
        for row in (own, other):
            rows_write(make_rows([-60.0], ids=row.pk, requests_waiting=50), overwrite=True)
        rule = make_rule(**SIMPLE)
        assert [firing.deployment_id for firing in rule_preview(rule, now=NOON, deployments=[own.pk]).firings] == [own.pk]
        assert rule_preview(rule, now=NOON, deployments=[]).missing == "Nothing matches this rule."

    def test_of_accelerators_those_its_deployments_run_on(self) -> None:
        deployment, (one, _) = make_deployment(), (make_accelerator(make_node()), make_accelerator(make_node()))
        make_placement(make_replica(deployment), accelerator=one)
        rows_write(make_rows([-60.0], Entity.ACCELERATOR, ids=one.pk, power_watts=500), overwrite=True)
        rule = make_rule(entity="accelerator", signal="power_watts", threshold=400, window_seconds=60, for_seconds=0)
        preview = rule_preview(rule, now=NOON, deployments=[deployment.pk])
        assert [firing.labels["accelerator"] for firing in preview.firings] == [one.uuid]

    def test_as_many_queries_for_30_deployments_as_for_3(self) -> None:
        rule = Rule(**DEFAULTS[0])
        counted = []
        for count in (3, 27):
            for _ in range(count):
                Slo.objects.create(deployment=make_deployment(), latency=Latency.REQUEST_DURATION, threshold_seconds=0.5)
            with CaptureQueriesContext(connection) as caught:
                rule_preview(rule, now=NOON)
            counted.append(len(caught))
        print(f"{counted[0]} queries")
        assert counted[0] == counted[1] <= 20
