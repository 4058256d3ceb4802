"""One run per job and slot, whoever asks; leases that end with their worker."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from monitoring import slots
from monitoring.models import Heartbeat, ImportChunk, ImportRun, JobSlot, Source
from monitoring.slots import leases_free, owner_name, slot_run, slots_clean
from tests.factories import make_source

NOW = datetime(2026, 11, 22, 12, 0, 7, tzinfo=UTC)
MINUTE = 60.0


@pytest.mark.django_db
class TestASlot:
    def test_it_runs_once_however_often_it_is_rung(self) -> None:
        runs: list[datetime] = []
        for _ in range(3):
            slot_run("job", lambda now: runs.append(now) or "done", every_seconds=MINUTE, now=NOW)  # type: ignore[func-returns-value]
        assert runs == [NOW]
        slot = JobSlot.objects.get()
        assert (slot.slot_time, slot.summary, slot.error, slot.owner) == (NOW.replace(second=0), "done", "", owner_name())

    def test_the_next_minute_is_another_slot(self) -> None:
        assert slot_run("job", lambda now: "one", every_seconds=MINUTE, now=NOW) == "one"
        assert slot_run("job", lambda now: "two", every_seconds=MINUTE, now=NOW + timedelta(seconds=53)) == "two"

    def test_two_jobs_share_nothing(self) -> None:
        assert slot_run("one", lambda now: "x", every_seconds=MINUTE, now=NOW) == "x"
        assert slot_run("two", lambda now: "x", every_seconds=MINUTE, now=NOW) == "x"

    def test_its_end_leaves_a_heartbeat(self) -> None:
        slot_run("job", lambda now: "3 rows", every_seconds=MINUTE, now=NOW)
        beat = Heartbeat.objects.get(name="job")
        assert beat.detail["summary"] == "3 rows" and beat.at >= NOW

    def test_an_error_is_kept_and_gives_no_heartbeat(self) -> None:
        def fail(now: datetime) -> str:
            raise ValueError("no such column")

        assert slot_run("job", fail, every_seconds=MINUTE, now=NOW) is None
        assert JobSlot.objects.get().error == "ValueError: no such column"
        assert not Heartbeat.objects.exists()

    def test_it_waits_while_an_earlier_run_is_going(self) -> None:
        earlier = JobSlot.objects.take("job", at=NOW - timedelta(minutes=1), owner="other:1", now=NOW, lease_seconds=20.0)
        assert earlier
        assert slot_run("job", lambda now: "ran", every_seconds=MINUTE, now=NOW) is None
        assert JobSlot.objects.get(slot_time=NOW.replace(second=0)).summary == "an earlier run is still going"

    def test_it_may_run_beside_an_earlier_one_where_the_job_says_so(self) -> None:
        JobSlot.objects.take("job", at=NOW - timedelta(minutes=1), owner="other:1", now=NOW, lease_seconds=20.0)
        assert slot_run("job", lambda now: "ran", every_seconds=MINUTE, now=NOW, at_most=2) == "ran"

    def test_a_killed_run_holds_up_nothing_once_its_lease_is_over(self) -> None:
        JobSlot.objects.take("job", at=NOW - timedelta(minutes=1), owner="dead:1", now=NOW - timedelta(seconds=21), lease_seconds=20.0)
        assert slot_run("job", lambda now: "ran", every_seconds=MINUTE, now=NOW) == "ran"

    def test_old_ones_are_deleted(self) -> None:
        slot_run("job", lambda now: "old", every_seconds=MINUTE, now=NOW - timedelta(days=3))
        slot_run("job", lambda now: "new", every_seconds=MINUTE, now=NOW)
        assert slots_clean(now=NOW) == "1 old slots and 0 old heartbeats deleted"
        assert list(JobSlot.objects.values_list("summary", flat=True)) == ["new"]


@pytest.mark.django_db(transaction=True)
class TestManyAtOnce:
    def test_of_eight_workers_one_runs(self) -> None:
        runs: list[int] = []
        start = threading.Barrier(8)

        def ring(number: int) -> None:
            start.wait()
            slot_run("job", lambda now: runs.append(number) or "", every_seconds=MINUTE, now=NOW)  # type: ignore[func-returns-value]
            connection.close()

        threads = [threading.Thread(target=ring, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(runs) == 1 and JobSlot.objects.count() == 1

    def test_a_long_run_renews_its_lease(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(slots, "RENEW_SECONDS", 0.01)
        renewed = threading.Event()

        def work(now: datetime) -> str:
            for _ in range(1000):
                if JobSlot.objects.get().lease_until != NOW + timedelta(seconds=slots.LEASE_SECONDS):
                    renewed.set()
                    break
                threading.Event().wait(0.01)
            return ""

        slot_run("job", work, every_seconds=MINUTE, now=NOW)
        assert renewed.is_set()


@pytest.mark.django_db
class TestLeasesOfTheDead:
    def leases(self, owner: str) -> tuple[Source, ImportChunk]:
        until = NOW + timedelta(seconds=90)
        source = make_source(lease_owner=owner, lease_until=until)
        run = ImportRun.objects.create(source=source, days=1, end_at=NOW)
        times = {"start_at": NOW - timedelta(days=1), "end_at": NOW}
        chunk = ImportChunk.objects.create(run=run, state="running", lease_owner=owner, lease_until=until, **times)
        JobSlot.objects.take("job", at=NOW, owner=owner.split("/")[0], now=NOW, lease_seconds=20.0)
        return source, chunk

    def test_they_are_freed_when_a_worker_starts_on_the_same_host(self) -> None:
        source, chunk = self.leases("here:17/abc")
        assert leases_free(host="here", now=NOW, alive=lambda pid: pid != 17) == "3 leases of dead workers freed"
        source.refresh_from_db()
        chunk.refresh_from_db()
        assert source.lease_until == NOW and chunk.lease_until == NOW
        assert not JobSlot.objects.going("job", now=NOW).exists()

    @pytest.mark.parametrize("owner", ["elsewhere:17/abc", "here:18/abc", "hereafter:17/abc"])
    def test_those_of_the_living_and_of_other_hosts_stay(self, owner: str) -> None:
        source, _ = self.leases(owner)
        assert leases_free(host="here", now=NOW, alive=lambda pid: pid != 17).startswith("0 ")
        source.refresh_from_db()
        assert source.lease_until == NOW + timedelta(seconds=90)
