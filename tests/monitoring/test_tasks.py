"""The doors: each finds its work in rows, does it once, and says what it did."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from celery import current_app
from django.conf import settings

from monitoring.access import secret_encrypt
from monitoring.models import AllowedAddress, Channel, Heartbeat, ImportChunk, ImportRun, JobSlot, Notification
from monitoring.tasks import (
    alerts_evaluate_task,
    alerts_send_task,
    alerts_sweep_task,
    canary_task,
    import_waiting,
    poll_due,
    rollups_fill_task,
)
from tests.factories import make_agent, make_rule, make_source
from tests.servers.loopback import serving

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


current_app.loader.import_default_modules()


class TestTheSchedule:
    @pytest.mark.parametrize("name", settings.CELERY_BEAT_SCHEDULE)
    def test_it_rings_only_tasks_that_exist_on_queues_that_are_read(self, name: str) -> None:
        entry = settings.CELERY_BEAT_SCHEDULE[name]
        assert entry["task"] in current_app.tasks
        assert entry["options"]["queue"] in {queue.name for queue in settings.CELERY_TASK_QUEUES}
        assert entry["options"]["expires"] > 0

    def test_every_task_of_ours_is_rung(self) -> None:
        ours = {name for name in current_app.tasks if name.split(".")[0] in ("monitoring", "capacity")}
        assert ours == {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}

    def test_messages_are_acknowledged_late_and_carry_json_only(self) -> None:
        wanted = {"task_acks_late": True, "task_reject_on_worker_lost": True, "worker_prefetch_multiplier": 1, "task_ignore_result": True}
        assert {name: getattr(current_app.conf, name) for name in wanted} == wanted
        assert current_app.conf.accept_content == ["json"] and current_app.conf.result_backend is None


@pytest.mark.django_db(transaction=True)
class TestDoors:
    def test_a_canary_says_who_took_it(self) -> None:
        canary_task(queue="poll", word_of_a_newer_release=True)
        assert Heartbeat.objects.get().name == "queue:poll"

    def test_nothing_due_is_no_news(self) -> None:
        assert poll_due(NOW) == "" and import_waiting(NOW) == ""

    def test_a_source_that_is_away_is_polled_once_and_comes_back_later(self) -> None:
        source = make_source(url="http://127.0.0.1:9")
        assert poll_due(NOW) == "1 sources polled, 0 rows written"
        source.refresh_from_db()
        assert source.state != "new" and source.next_poll_at > source.polled_at and source.lease_owner == ""

    def test_a_chunk_that_waits_is_taken(self) -> None:
        run = ImportRun.objects.create(source=make_source(url="http://127.0.0.1:9"), days=1, end_at=NOW)
        chunk = ImportChunk.objects.create(run=run, start_at=NOW - timedelta(days=1), end_at=NOW)
        assert import_waiting(NOW).startswith("1 chunks")
        chunk.refresh_from_db()
        assert chunk.attempts == 1 and chunk.state != "running"

    def test_an_alert_is_evaluated_sent_and_swept_each_with_a_heartbeat(self) -> None:
        make_rule("late", entity="agent", signal="agent_silent_seconds", threshold=-1, for_seconds=0)
        make_agent()
        with serving(lambda handler: handler.reply(200)) as server:
            AllowedAddress.objects.create(network="127.0.0.1/32", port=server.port)
            secret = secret_encrypt(json.dumps({"url": server.url, "signing": ["whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"]}))
            Channel.objects.create(name="ops", kind="webhook", secret=secret, group_wait_seconds=0)
            for task in (alerts_evaluate_task, alerts_send_task, alerts_sweep_task):
                task(word_of_a_newer_release=True)
        assert len(server.seen) == 1 and Notification.objects.get().state == "sent"
        names = {f"monitoring.alerts_{name}" for name in ("evaluate", "send", "sweep")}
        assert set(Heartbeat.objects.values_list("name", flat=True)) == names

    def test_rollups_are_filled_once_a_minute(self) -> None:
        for _ in range(2):
            rollups_fill_task()
        assert JobSlot.objects.filter(job="monitoring.rollups_fill", error="").count() in (1, 2)  # two only across a full minute
