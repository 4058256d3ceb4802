"""Whose turn it is: once each, by one worker at a time, and again after a death."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat

import pytest
from django.db import connection, transaction

from capacity.analysis.turns import (
    Job,
    Keep,
    owner_name,
    turn_claim,
    turn_early,
    turn_finish,
    turns_claim,
    turns_due,
    turns_free,
    turns_hurry,
    turns_renew,
    turns_wish,
    turns_work,
)
from capacity.models import Turn

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAILY = Job("daily", every=timedelta(days=1), begins=timedelta(hours=1), spread=timedelta(hours=4))
SUBJECTS = [f"deployment:{number}" for number in range(40)]
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def claimed(*, now: datetime = NOW, job: Job = DAILY) -> Turn:
    turn = turn_claim(job, now=now)
    assert turn is not None
    return turn


@pytest.mark.django_db
class TestWhoseTurn:
    def test_what_is_new_is_due_at_once_and_made_once(self) -> None:
        assert (turns_due(DAILY, SUBJECTS, now=NOW), turns_due(DAILY, SUBJECTS, now=NOW)) == (40, 40)
        assert sorted(Turn.objects.values_list("subject", flat=True)) == sorted(SUBJECTS)

    def test_what_is_gone_loses_its_turn_and_that_of_another_job_stays(self) -> None:
        turns_due(DAILY, SUBJECTS[:3], now=NOW), turns_due(Job("other", every=HOUR), SUBJECTS[:3], now=NOW)
        assert turns_due(DAILY, SUBJECTS[:1], now=NOW) == 1
        assert Counter(Turn.objects.values_list("job", flat=True)) == {"daily": 1, "other": 3}

    def test_a_wish_makes_due_what_is_new_and_what_is_late_and_what_waits_keeps_its_place(self) -> None:
        turns_due(DAILY, SUBJECTS[:2], now=NOW)
        done = claimed()
        turn_finish(DAILY, done, now=NOW, seconds=1.0)
        turns_wish(DAILY, SUBJECTS[:3], now=NOW + HOUR)
        moments = dict(Turn.objects.values_list("subject", "due_at"))
        waiting = next(subject for subject in SUBJECTS[:2] if subject != done.subject)
        assert moments == {done.subject: NOW + HOUR, waiting: NOW, SUBJECTS[2]: NOW + HOUR}

    @pytest.mark.parametrize("error", ["", "it broke"])
    def test_a_wish_while_it_is_worked_on_brings_it_once_more(self, error: str) -> None:
        """What the worker read may be older than the change."""
        turns_due(DAILY, SUBJECTS[:1], now=NOW)
        turn = claimed()
        turns_wish(DAILY, SUBJECTS[:1], now=NOW + SECOND)
        assert turn_claim(DAILY, now=NOW + SECOND) is None  # still one worker at a time
        assert turn_finish(DAILY, turn, now=NOW + 2 * SECOND, seconds=2.0, error=error)
        again = claimed(now=NOW + 2 * SECOND)
        assert turn_finish(DAILY, again, now=NOW + 3 * SECOND, seconds=1.0) and turn_claim(DAILY, now=NOW + HOUR) is None

    def test_a_turn_is_claimed_once(self) -> None:
        turns_due(DAILY, SUBJECTS[:1], now=NOW)
        assert turn_claim(DAILY, now=NOW) is not None
        assert turn_claim(DAILY, now=NOW) is None

    def test_the_next_turn_is_at_the_subjects_own_moment_within_the_spread(self) -> None:
        moments = [DAILY.next_turn(subject, after=NOW) for subject in SUBJECTS]
        tomorrow = datetime(2026, 11, 23, tzinfo=UTC)
        assert all(tomorrow + HOUR <= moment <= tomorrow + 5 * HOUR for moment in moments)
        assert max(moments) - min(moments) > 3 * HOUR  # not all at once
        assert [DAILY.next_turn(subject, after=moment) - moment for subject, moment in zip(SUBJECTS, moments, strict=True)] == [DAY] * 40

    def test_a_finished_turn_comes_again_then(self) -> None:
        turns_due(DAILY, SUBJECTS[:1], now=NOW)
        turn = claimed()
        assert turn_finish(DAILY, turn, now=NOW + SECOND, seconds=0.8)
        row = Turn.objects.get()
        assert (row.due_at, row.done_at) == (DAILY.next_turn(turn.subject, after=NOW), NOW + SECOND)
        assert (row.seconds, row.failures, row.owner, row.lease_until, row.error) == (0.8, 0, "", None, "")

    def test_a_failed_turn_waits_longer_each_time_up_to_a_period(self) -> None:
        turns_due(DAILY, SUBJECTS[:1], now=NOW)
        waits, now = [], NOW
        for _ in range(12):
            turn = claimed(now=now)
            turn_finish(DAILY, turn, now=now, seconds=0.1, error="ValueError: no")
            row = Turn.objects.get()
            waits.append(row.due_at - now)
            now = row.due_at
        assert waits[:4] == [5 * MINUTE, 10 * MINUTE, 20 * MINUTE, 40 * MINUTE] and waits[-1] == DAY
        assert (row.failures, row.error) == (12, "ValueError: no")
        turn_finish(DAILY, claimed(now=now), now=now, seconds=0.1)
        assert Turn.objects.get().failures == 0

    def test_what_was_asked_to_hurry_is_due_now_unless_it_failed(self) -> None:
        turns_due(DAILY, SUBJECTS[:2], now=NOW)
        good, bad = turns_claim(DAILY, now=NOW, most=2)
        turn_finish(DAILY, good, now=NOW, seconds=0.1), turn_finish(DAILY, bad, now=NOW, seconds=0.1, error="no")
        assert turns_hurry(DAILY, SUBJECTS[:2], now=NOW + SECOND) == 1
        assert claimed(now=NOW + SECOND).pk == good.pk

    def test_a_turn_may_come_early_and_never_later_than_it_would(self) -> None:
        turns_due(DAILY, SUBJECTS[:1], now=NOW)
        turn = claimed()
        turn_finish(DAILY, turn, now=NOW, seconds=0.1)
        turn_early(turn, at=NOW + HOUR), turn_early(turn, at=NOW + 3 * HOUR)
        assert Turn.objects.get().due_at == NOW + HOUR


@pytest.mark.django_db
class TestLeases:
    def test_a_dead_workers_turn_is_taken_after_its_lease_and_not_before(self) -> None:
        turns_due(DAILY, SUBJECTS[:1], now=NOW)
        claimed()
        assert turn_claim(DAILY, now=NOW + DAILY.lease - SECOND) is None
        again = claimed(now=NOW + DAILY.lease)
        assert again.failures == Turn.objects.get().failures == 1  # it may be what killed its worker

    def test_who_lost_the_lease_finishes_nothing(self) -> None:
        turns_due(DAILY, SUBJECTS[:1], now=NOW)
        late, late_now = claimed(), NOW + DAILY.lease
        assert not turn_finish(DAILY, late, now=late_now, seconds=130.0)  # nobody took it yet, and still
        mine = claimed(now=late_now)
        assert not turn_finish(DAILY, late, now=late_now, seconds=130.0)
        assert turn_finish(DAILY, mine, now=late_now, seconds=0.1)
        assert not turn_finish(DAILY, mine, now=late_now, seconds=0.1)  # once

    def test_a_renewed_lease_lasts(self) -> None:
        turns_due(DAILY, SUBJECTS[:1], now=NOW)
        turn = claimed()
        turns_renew(DAILY, [turn], now=NOW + 100 * SECOND)
        assert turn_finish(DAILY, turn, now=NOW + DAILY.lease + 90 * SECOND, seconds=200.0)

    def test_what_killed_its_worker_comes_last(self) -> None:
        turns_due(DAILY, SUBJECTS[:1], now=NOW - HOUR)
        claimed(now=NOW - HOUR)
        killer = claimed(now=NOW - HOUR + DAILY.lease)
        turns_due(DAILY, SUBJECTS[:3], now=NOW)
        assert [turn.pk == killer.pk for turn in turns_claim(DAILY, now=NOW, most=3)] == [False, False, True]

    def test_a_starting_worker_gives_back_what_dead_ones_of_its_machine_held(self) -> None:
        turns_due(DAILY, SUBJECTS[:3], now=NOW)
        for owner in ("here:11/a", "here:12/b", "there:11/c"):
            assert turn_claim(DAILY, now=NOW, owner=owner)
        assert turns_free(host="here", now=NOW, alive=lambda pid: pid == 12) == 1
        assert sorted(Turn.objects.filter(lease_until__gt=NOW).values_list("owner", flat=True)) == ["here:12/b", "there:11/c"]

    def test_two_claims_of_one_process_are_two_owners(self) -> None:
        assert owner_name() != owner_name()


def kept_in(kept: list[str]) -> Callable[[Sequence[Turn], datetime], Callable[[Turn], Keep]]:
    return lambda turns, now: lambda turn: lambda: kept.append(turn.subject)


@pytest.mark.django_db
class TestWork:
    def test_all_that_is_due_is_done_once(self) -> None:
        kept: list[str] = []
        turns_due(DAILY, SUBJECTS, now=NOW)
        assert turns_work(DAILY, kept_in(kept), clock=lambda: NOW, budget_seconds=60.0, batch=7) == (40, 0)
        assert sorted(kept) == sorted(SUBJECTS)
        assert turns_work(DAILY, kept_in(kept), clock=lambda: NOW, budget_seconds=60.0, batch=7) == (0, 0)

    def test_it_stops_when_its_time_is_spent(self) -> None:
        kept: list[str] = []
        turns_due(DAILY, SUBJECTS, now=NOW)
        assert turns_work(DAILY, kept_in(kept), clock=lambda: NOW, budget_seconds=0.0, batch=7) == (0, 0)

    def test_one_that_fails_spoils_no_other_and_keeps_nothing(self) -> None:
        kept: list[str] = []

        def load(turns: Sequence[Turn], now: datetime) -> Callable[[Turn], Keep]:
            return lambda turn: (lambda: kept.append(turn.subject)) if turn.subject != SUBJECTS[3] else (lambda: 1 / 0)  # type: ignore[return-value]

        turns_due(DAILY, SUBJECTS[:5], now=NOW)
        assert turns_work(DAILY, load, clock=lambda: NOW, budget_seconds=60.0, batch=5) == (4, 1)
        row = Turn.objects.get(subject=SUBJECTS[3])
        assert (row.error, row.failures, row.done_at) == ("ZeroDivisionError: division by zero", 1, None)
        assert sorted(kept) == [SUBJECTS[0], SUBJECTS[1], SUBJECTS[2], SUBJECTS[4]]

    def test_a_batch_that_cannot_be_read_is_read_one_by_one(self) -> None:
        kept: list[str] = []

        def load(turns: Sequence[Turn], now: datetime) -> Callable[[Turn], Keep]:
            if any(turn.subject == SUBJECTS[2] for turn in turns):
                raise ValueError("no such series")
            return lambda turn: lambda: kept.append(turn.subject)

        turns_due(DAILY, SUBJECTS[:4], now=NOW)
        assert turns_work(DAILY, load, clock=lambda: NOW, budget_seconds=60.0, batch=4) == (3, 1)
        assert Turn.objects.get(subject=SUBJECTS[2]).error == "ValueError: no such series" and len(kept) == 3

    def test_a_result_that_came_after_the_lease_is_not_kept(self) -> None:
        kept: list[str] = []
        clock = chain([NOW, NOW, NOW], repeat(NOW + DAILY.lease))
        turns_due(DAILY, SUBJECTS[:1], now=NOW)
        turns_work(DAILY, kept_in(kept), clock=lambda: next(clock), budget_seconds=60.0)
        assert kept == [SUBJECTS[0]]  # of the second claim, made after the first lease had ended
        assert Turn.objects.get().done_at == NOW + DAILY.lease


def in_threads(count: int, work: Callable[[], None]) -> None:
    """Each with a connection of its own; an error of one is an error of the test."""
    problems: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as problem:
            problems.append(problem)
        finally:
            connection.close()

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not problems and not any(thread.is_alive() for thread in threads), problems


@pytest.mark.django_db(transaction=True)
class TestManyWorkers:
    def test_no_two_do_the_same(self) -> None:
        kept: list[str] = []
        start = threading.Barrier(6)

        def work() -> None:
            start.wait()
            turns_due(DAILY, SUBJECTS, now=NOW)
            turns_work(DAILY, kept_in(kept), clock=lambda: NOW, budget_seconds=60.0, batch=3)

        in_threads(6, work)
        assert Counter(kept) == dict.fromkeys(SUBJECTS, 1)

    def test_nobody_waits_for_who_is_claiming(self) -> None:
        turns_due(DAILY, SUBJECTS[:2], now=NOW)
        claiming, claimed_other = threading.Event(), threading.Event()
        found: dict[str, int] = {}

        def one() -> None:
            with transaction.atomic():  # its claim is not committed yet
                found["one"] = claimed().pk
                claiming.set()
                assert claimed_other.wait(30)

        def other() -> None:
            assert claiming.wait(30)
            found["other"] = claimed().pk
            claimed_other.set()

        steps = iter([one, other])
        lock = threading.Lock()

        def step() -> None:
            with lock:
                mine = next(steps)
            mine()

        in_threads(2, step)
        assert found["one"] != found["other"]

    def test_of_two_that_finish_the_same_turn_one_keeps_its_result(self) -> None:
        """One that was away beyond its lease, and the one who took the turn then."""
        turns_due(DAILY, SUBJECTS[:1], now=NOW)
        late, late_now = claimed(), NOW + DAILY.lease
        taken = claimed(now=late_now)
        kept: list[str] = []
        turns, lock, start = iter([late, taken]), threading.Lock(), threading.Barrier(2)

        def finish() -> None:
            with lock:
                mine = next(turns)
            start.wait()
            with transaction.atomic():
                if turn_finish(DAILY, mine, now=late_now, seconds=1.0):
                    kept.append(mine.owner)

        in_threads(2, finish)
        assert kept == [taken.owner]
