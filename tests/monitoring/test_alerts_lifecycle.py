"""The life of an alert against a model that looks at the whole history, and each rule of it by hand."""

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monitoring.alerts.lifecycle import (
    FLAP_EDGES,
    FLAP_STABLE,
    FLAP_WINDOW,
    OVER,
    UNKNOWN_GRACE,
    UNKNOWN_MOST,
    Life,
    Seen,
    State,
    Step,
    Timing,
    Told,
    life_begin,
    life_step,
)

MINUTE = 60.0
FIVE = Timing(for_seconds=300, keep_firing_seconds=300)
AT_ONCE = Timing(for_seconds=0, keep_firing_seconds=0)
History = list[tuple[float, Seen]]


def play(history: History, timing: Timing) -> tuple[list[tuple[float, Told]], list[Life]]:
    """Edges and lives, as an evaluator goes on: a new alert where the last one is over, with its toggles."""
    edges, lives = list[tuple[float, Told]](), list[Life]()
    life: Life | None = None
    for now, seen in history:
        if life is None or life.state in OVER:
            if seen is not Seen.TRUE:
                continue
            life = life_begin(now, toggles=life.toggles if life else ())
        step = life_step(life, seen, now=now, timing=timing)
        life = step.life
        lives.append(life)
        if step.edge:
            edges.append((now, step.edge))
    return edges, lives


def run_seconds(history: History, seen: Seen) -> float:
    """How long the newest unbroken run of `seen` has lasted; -1 where the newest is another."""
    start = None
    for now, found in reversed(history):
        if found is not seen:
            break
        start = now
    return history[-1][0] - start if start is not None else -1.0


def expected(history: History, timing: Timing) -> list[tuple[float, Told]]:
    """Edges by the definition of `for` and keep-firing, read off the history up to each instant; knows nothing of states."""
    edges, firing = list[tuple[float, Told]](), False
    for end in range(1, len(history) + 1):
        so_far = history[:end]
        if not firing and run_seconds(so_far, Seen.TRUE) >= timing.for_seconds:
            edges.append((so_far[-1][0], Told.FIRE))
            firing = True
        elif firing and run_seconds(so_far, Seen.FALSE) >= timing.keep_firing_seconds:
            edges.append((so_far[-1][0], Told.RESOLVE))
            firing = False
    return edges


def minutes(text: str, *, step: float = MINUTE) -> History:
    """T true, F false, . no data, E error, one a minute."""
    kinds = {"T": Seen.TRUE, "F": Seen.FALSE, ".": Seen.NO_DATA, "E": Seen.ERROR}
    return [(number * step, kinds[letter]) for number, letter in enumerate(text)]


timings = st.builds(Timing, st.sampled_from([0, 60, 300, 900]), st.sampled_from([0, 60, 300, 900]))
runs = st.lists(st.tuples(st.sampled_from("TF"), st.integers(1, 25)), max_size=12)
anything = st.lists(st.tuples(st.floats(1, 3600), st.sampled_from(list(Seen))), max_size=60)


class TestAgainstTheModel:
    @given(runs=runs, timing=timings)
    @example(runs=[("T", 6), ("F", 6)] * 6, timing=FIVE)
    def test_edges_are_those_of_the_definition_until_there_are_too_many(self, runs: list[tuple[str, int]], timing: Timing) -> None:
        history = minutes("".join(letter * count for letter, count in runs))
        edges, _ = play(history, timing)
        wanted = expected(history, timing)
        flap = next((number for number, (_, edge) in enumerate(edges) if edge is Told.FLAPPING), len(edges))
        assert edges[:flap] == wanted[:flap]
        if flap < len(edges):
            at = edges[flap][0]
            assert wanted[flap] == (at, Told.FIRE)
            assert len([t for t, _ in wanted[: flap + 1] if at - t < FLAP_WINDOW]) > FLAP_EDGES
        else:
            assert edges == wanted

    @given(steps=anything, timing=timings)
    def test_seen_twice_changes_nothing(self, steps: list[tuple[float, Seen]], timing: Timing) -> None:
        now, life = 0.0, life_begin(0.0)
        for wait, seen in steps:
            now += wait
            life = life_step(life, seen, now=now, timing=timing).life
            assert life_step(life, seen, now=now, timing=timing) == Step(life)

    @given(steps=anything, timing=timings)
    def test_firing_and_its_end_are_told_in_turns(self, steps: list[tuple[float, Seen]], timing: Timing) -> None:
        times = [sum(wait for wait, _ in steps[: number + 1]) for number in range(len(steps))]
        edges, lives = play([(at, seen) for at, (_, seen) in zip(times, steps, strict=True)], timing)
        told = [edge for _, edge in edges]
        assert all(a is not b or a is Told.FIRE for a, b in zip(told, told[1:], strict=False)), told
        assert not told or told[0] is Told.FIRE
        assert all(life.fired for life in lives if life.state in (State.FIRING, State.RECOVERING))
        assert all(not life.fired for life in lives if life.state in (State.PENDING, State.OK, State.RESOLVED))


class TestByHand:
    def test_it_fires_once_after_its_time_and_resolves_after_the_other(self) -> None:
        edges, lives = play(minutes("TTTTTTTTFFFFFFFF"), FIVE)
        assert edges == [(5 * MINUTE, Told.FIRE), (13 * MINUTE, Told.RESOLVE)]
        assert [life.state for life in lives] == [State.PENDING] * 5 + [State.FIRING] * 3 + [State.RECOVERING] * 5 + [State.RESOLVED]

    def test_a_short_trouble_is_never_told(self) -> None:
        edges, lives = play(minutes("TTTTTF"), FIVE)
        assert edges == [] and lives[-1].state is State.OK

    def test_a_short_calm_does_not_resolve(self) -> None:
        edges, lives = play(minutes("TTTTTTFFFFFTT"), FIVE)
        assert len(edges) == 1 and lives[-1].state is State.FIRING

    def test_an_older_evaluation_changes_nothing(self) -> None:
        life = life_step(life_begin(600), Seen.TRUE, now=600, timing=AT_ONCE).life
        assert life_step(life, Seen.FALSE, now=540, timing=AT_ONCE) == Step(life)


class TestFlapping:
    history = minutes("TF" * 3 + "TFTFTFTFT")

    def test_the_fifth_edge_of_an_hour_says_so_and_no_further_one_is_told(self) -> None:
        edges, lives = play(self.history, AT_ONCE)
        assert [edge for _, edge in edges] == [Told.FIRE, Told.RESOLVE, Told.FIRE, Told.RESOLVE, Told.FLAPPING]
        assert lives[-1].flapping

    @pytest.mark.parametrize(("settles", "last"), [("T", Told.FIRE), ("F", Told.RESOLVE)])
    def test_after_half_an_hour_unchanged_it_says_what_it_settled_on(self, settles: str, last: Told) -> None:
        start = len(self.history)
        calm = [((start + number) * MINUTE, minutes(settles)[0][1]) for number in range(40)]
        edges, lives = play([*self.history, *calm], AT_ONCE)
        flipped = self.history[-1][0] if settles == "T" else start * MINUTE
        assert edges[5:] == [(flipped + FLAP_STABLE, last)]
        assert not lives[-1].flapping

    def test_edges_of_more_than_an_hour_ago_do_not_count(self) -> None:
        edges, _ = play(minutes("TF" * 10, step=FLAP_WINDOW / 4), AT_ONCE)
        assert Told.FLAPPING not in [edge for _, edge in edges]


class TestWithoutData:
    firing = life_step(life_begin(0), Seen.TRUE, now=0, timing=AT_ONCE).life

    def test_a_short_gap_changes_nothing(self) -> None:
        assert life_step(self.firing, Seen.NO_DATA, now=UNKNOWN_GRACE, timing=AT_ONCE) == Step(self.firing)

    @pytest.mark.parametrize(("seen", "state"), [(Seen.NO_DATA, State.NO_DATA), (Seen.ERROR, State.ERROR)])
    def test_a_longer_one_is_a_state_of_its_own_and_tells_nothing(self, seen: Seen, state: State) -> None:
        step = life_step(self.firing, seen, now=UNKNOWN_GRACE + 1, timing=AT_ONCE)
        assert step == Step(replace(self.firing, state=state, since=UNKNOWN_GRACE + 1))

    def test_what_fired_goes_on_when_data_comes_back_without_being_told_again(self) -> None:
        edges, lives = play(minutes("TTTTTT" + "." * 20 + "T"), FIVE)
        assert [edge for _, edge in edges] == [Told.FIRE] and lives[-1].state is State.FIRING

    def test_it_resolves_in_its_time_when_data_comes_back_good(self) -> None:
        edges, _ = play(minutes("TTTTTT" + "." * 20 + "FFFFFF"), FIVE)
        assert edges[-1] == (31 * MINUTE, Told.RESOLVE)

    def test_what_was_pending_begins_anew(self) -> None:
        edges, _ = play(minutes("TTT" + "." * 20 + "TTTTTT"), FIVE)
        assert edges == [(28 * MINUTE, Told.FIRE)]

    def test_after_a_day_without_a_word_it_ends(self) -> None:
        unknown = life_step(self.firing, Seen.NO_DATA, now=3600, timing=AT_ONCE).life
        step = life_step(unknown, Seen.NO_DATA, now=UNKNOWN_MOST + 1, timing=AT_ONCE)
        assert step.edge is Told.RESOLVE and step.life.state is State.RESOLVED
        pending = life_step(life_begin(0), Seen.NO_DATA, now=UNKNOWN_MOST + 1, timing=FIVE)
        assert pending.edge is None and pending.life.state is State.OK
