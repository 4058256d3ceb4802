"""Who may not come in, what is too much, what is no batch: each with its status and a sentence; and how many statements a batch costs."""

import gzip
import json
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from monitoring.access import key_create, key_revoke
from monitoring.agents import limits as limits_module
from monitoring.agents.known import remembered
from monitoring.api import ingest_keys
from monitoring.models import Accelerator, Key, Node, Scope, setting_set
from tests.monitoring.ingest_door import Sender, body_of, gpu, grid
from tests.telemetry import table_rows

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """What a process remembers is of this test."""
    for memory in (remembered, limits_module.held, ingest_keys.senders, ingest_keys.counts):
        memory.clear()  # type: ignore[attr-defined]
    yield
    limits_module.held.clear()


@pytest.fixture
def sender() -> Sender:
    return Sender()


def limit(name: str, value: float) -> None:
    setting_set(name, value, by="test", now=timezone.now())
    limits_module.held.clear()


class TestKeys:
    def test_without_a_key_nobody_comes_in(self, sender: Sender) -> None:
        answer = sender.client.post("/api/v1/ingest", data=json.dumps(body_of()), content_type="application/json")
        assert answer.status_code == 401 and "ingest key" in answer.json()["detail"] and "WWW-Authenticate" in answer.headers

    def test_a_wrong_key_is_refused(self, sender: Sender) -> None:
        wrong = sender.text[:-1] + ("a" if sender.text[-1] != "a" else "b")
        assert "unknown" in sender.refused(body_of(), 401, Authorization=f"Bearer {wrong}")
        assert "unknown" in sender.refused(body_of(), 401, Authorization=f"Basic {sender.text}")

    @pytest.mark.parametrize("scope", [Scope.READ, Scope.ADMIN])
    def test_a_key_of_another_scope_cannot_push(self, sender: Sender, scope: str) -> None:
        assert "scope ingest" in Sender(cluster=sender.cluster, scope=scope).refused(body_of(), 403)

    def test_a_key_of_no_cluster_cannot_push(self, sender: Sender) -> None:
        _, sender.text = key_create("stray", scope=Scope.INGEST, created_by=None)
        assert "no cluster" in sender.refused(body_of(), 403)

    def test_an_ended_key_is_refused_at_once_though_it_is_remembered(self, sender: Sender) -> None:
        sender.send()
        key_revoke(sender.key)
        sender.refused(body_of(times=grid(1, ago=-15)), 401)
        assert len(table_rows("accelerator_sample", "power_watts")) == 4

    def test_an_ended_key_makes_no_rows_either(self, sender: Sender) -> None:
        sender.send({})
        key_revoke(sender.key)
        sender.refused(body_of(node="new", entities=[gpu("GPU-new")], columns={}), 401)
        assert not Node.objects.filter(name="new").exists()

    def test_an_expired_key_is_refused_at_once(self, sender: Sender) -> None:
        sender.send()
        Key.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        assert "expired" in sender.refused(body_of(), 401)

    def test_two_keys_live_while_one_replaces_the_other(self, sender: Sender) -> None:
        times = grid()  # once: fifteen seconds may end between two calls
        sender.send(times=times)
        fresh = Sender(cluster=sender.cluster)
        assert fresh.send(times=times)["duplicate"] == 8
        key_revoke(sender.key)
        sender.refused(body_of(), 401)
        assert fresh.send(times=times)["duplicate"] == 8

    def test_the_last_use_is_written_at_most_each_five_minutes(self, sender: Sender) -> None:
        sender.send()
        used = Key.objects.get(pk=sender.key.pk).last_used_at
        ingest_keys.senders.clear()
        sender.send()
        assert used is not None and Key.objects.get(pk=sender.key.pk).last_used_at == used

    def test_a_key_cannot_touch_another_cluster(self, sender: Sender) -> None:
        other = Sender()
        other.send()
        before = table_rows("accelerator_sample", "power_watts")
        sender.send({"power_watts": [None, [9.0] * 4]})
        assert [row for row in table_rows("accelerator_sample", "power_watts") if row[0] == before[0][0]] == before

    def test_over_its_quota_it_is_told_when_to_come_again(self, sender: Sender) -> None:
        limit("ingest_batches_per_minute", 2)
        while time.time() % 60 > 55:  # the quota is of a minute of the clock
            time.sleep(0.2)
        times = grid()
        sender.send(times=times)
        ingest_keys.counts.clear()  # another process took the first
        sender.send()
        answer = sender.post(body_of())
        assert answer.status_code == 429 and 1 <= int(answer["Retry-After"]) <= 60 and "2 batches" in answer.json()["detail"]
        assert Sender(cluster=sender.cluster).send(times=times)["duplicate"] == 8


class TestTheRequest:
    def test_only_post(self, sender: Sender) -> None:
        answer = sender.client.get("/api/v1/ingest")
        assert (answer.status_code, answer["Allow"]) == (405, "POST")

    @pytest.mark.parametrize("headers", [{"Content-Type": "text/plain"}, {"Content-Encoding": "br"}])
    def test_another_type_or_packing(self, sender: Sender, headers: dict[str, str]) -> None:
        assert "must be" in sender.refused(body_of(), 415, **headers)

    def test_without_a_length(self, sender: Sender) -> None:
        assert "Content-Length" in sender.refused(body_of(), 411, **{"Content-Length": ""})

    def test_a_declared_length_over_the_limit_is_refused_unread(self, sender: Sender) -> None:
        assert "8 MiB" in sender.refused(b"{}", 413, **{"Content-Length": str(8 * 2**20 + 1)})

    @pytest.mark.parametrize("cut", [1, 9, 40])
    def test_gzip_that_is_cut_off(self, sender: Sender, cut: int) -> None:
        packed = gzip.compress(json.dumps(body_of()).encode())
        assert "cut off" in sender.refused(packed[:-cut], 400, **{"Content-Encoding": "gzip"})

    def test_gzip_that_is_none_or_has_a_tail(self, sender: Sender) -> None:
        packing = {"Content-Encoding": "gzip"}
        assert "not gzip" in sender.refused(b"{}", 400, **packing)
        assert "behind the end" in sender.refused(gzip.compress(b"{}") * 2, 400, **packing)

    def test_a_bomb(self, sender: Sender) -> None:
        bomb = gzip.compress(b" " * 40 * 2**20)
        assert "200 times" in sender.refused(bomb, 413, **{"Content-Encoding": "gzip"})
        limit("ingest_gzip_ratio", 1100)
        assert "32 MiB" in sender.refused(bomb, 413, **{"Content-Encoding": "gzip"})

    def test_the_database_away_is_503_with_a_time_to_come_again(self, sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
        def away(*args: Any, **kwargs: Any) -> None:
            raise OperationalError("no space left on device")

        monkeypatch.setattr("monitoring.agents.receive.push_heard", away)
        answer = sender.post(body_of())
        assert (answer.status_code, answer["Retry-After"]) == (503, "2")


GOOD = json.dumps(body_of(times=[1.0, 2.0])).encode()
TEXTS = {
    "nothing": b" ",
    "no object": b"[]",
    "NaN": GOOD.replace(b"400.0", b"NaN"),
    "infinity": GOOD.replace(b"400.0", b"-Infinity"),
    "too large": GOOD.replace(b"400.0", b"1e999"),
    "5,000 digits": GOOD.replace(b"400.0", b"9" * 5000),
    "5,000 digits in a count": GOOD.replace(b'"seq": 1', b'"seq": ' + b"9" * 5000),
    "a text for a number": GOOD.replace(b"400.0", b'"400"'),
    "deep": GOOD.replace(b"400.0", b"[" * 100_000 + b"]" * 100_000),
    "deep where nobody looks": GOOD[:-1] + b', "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "NUL": GOOD.replace(b"gpu-7", b"gpu\\u0000"),
    "NUL where nobody looks": GOOD[:-1] + b', "x": "\\u0000"}',
    "raw NUL": GOOD.replace(b"gpu-7", b"gpu\0"),
    "half a surrogate": GOOD.replace(b"gpu-7", b"gpu\\ud800"),
    "half a surrogate before text": GOOD.replace(b"gpu-7", b"gpu\\ud800x and more text here"),
    "the other half": GOOD.replace(b"gpu-7", b"gpu\\udc00x and more text here"),
    "no UTF-8": GOOD.replace(b"gpu-7", b"gpu\xff"),
    "no UTF-8 where nobody looks": GOOD[:-1] + b', "x": "\xff"}',
    "a name twice": GOOD[:-1] + b', "seq": 1}',
    "a column twice": GOOD.replace(b'"columns": {', b'"columns": {"load1": [null, null], '),
    "a name twice, once escaped": GOOD[:-1] + b', "\\u0073eq": 1}',
    "a name twice where nobody looks": GOOD[:-1] + b', "x": {"a": 1, "a": 2}}',
    "a tail": GOOD + b" x",
    "a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "cut": GOOD[:-20],
    "no node": GOOD.replace(b'"gpu-7"', b'""'),
    "times that fall": GOOD.replace(b"[1.0, 2.0]", b"[2.0, 1.0]"),
    "times that stand": GOOD.replace(b"[1.0, 2.0]", b"[1.0, 1.0]"),
    "a column too short": GOOD.replace(b'"columns": {', b'"columns": {"power_limit_watts": [null], '),
    "an entity twice": GOOD.replace(b'"entities": [', b'"entities": [{"kind": "node", "key": "gpu-7"}, '),
    "a start after the year 2200": GOOD.replace(b"1795322400.0", b"1e300"),
    "a negative count": GOOD.replace(b'"seq": 1', b'"seq": -1'),
}


class TestTheText:
    @pytest.mark.parametrize("name", TEXTS)
    def test_what_is_no_batch_is_refused_with_a_sentence_and_leaves_nothing(self, sender: Sender, name: str) -> None:
        assert TEXTS[name] != GOOD
        began = time.process_time()
        assert len(sender.refused(TEXTS[name], 400)) > 10
        assert time.process_time() - began < 1
        assert not Node.objects.exists() and not table_rows("accelerator_sample")

    def test_what_is_not_known_is_passed_over(self, sender: Sender) -> None:
        body = body_of(new_part={"a": [1, {"b": None}]}, agent={"newer": True})
        body["entities"].append({"kind": "disk", "key": "sda"})
        body["columns"] = {name: [*lists, None] for name, lists in body["columns"].items()} | {"busy": [None, None, [1.0] * 4]}
        counts = sender.post(body).json()
        assert (counts["accepted"], counts["rejected"]) == (8, 4) and "disk" in counts["errors"][0]

    def test_escapes_that_are_text_are_taken(self, sender: Sender) -> None:
        sender.send(node='n\\u0000"\U0001f600', entities=[gpu()], columns={})
        assert Node.objects.get().name == 'n\\u0000"\U0001f600'


class TestLimits:
    def test_samples(self, sender: Sender) -> None:
        limit("ingest_samples_per_batch", 100)
        many = body_of({"power_watts": [None, [1.0] * 101]}, times=grid(101))
        assert "100 samples, got 101" in sender.refused(many, 413)
        assert sender.send({"power_watts": [None, [1.0] * 100]}, times=grid(100))["accepted"] == 100

    def test_parts_are_bounded_before_anything_is_made_of_them(self, sender: Sender) -> None:
        limit("ingest_samples_per_batch", 100)
        assert "parts" in sender.refused(body_of({"power_watts": [None, [None] * 1100]}, times=grid(1100)), 413)

    def test_entities_and_processes(self, sender: Sender) -> None:
        limit("ingest_entities_per_batch", 2)
        assert "2 entities" in sender.refused(body_of({}, entities=[gpu(f"GPU-{n}") for n in range(3)]), 413)
        processes = [{"accelerator": "GPU-0", "pid": n, "started_at": 1.0} for n in range(3)]
        assert "2 processes" in sender.refused(body_of(processes=processes), 413)

    def test_texts(self, sender: Sender) -> None:
        assert "1024 characters" in sender.refused(body_of(agent={"version": "x" * 1025}), 400)
        assert sender.send(agent={"version": "ä" * 1024})["accepted"] == 8

    def test_series_of_an_agent_those_it_has_go_on_and_new_ones_are_counted(self, sender: Sender) -> None:
        limit("ingest_series_per_agent", 100)
        cards = [gpu(f"GPU-{n}", position=n) for n in range(101)]
        columns = {"power_watts": [[1.0] for _ in cards]}
        for ago in (15, 0):
            counts = sender.send(columns, times=grid(1, ago=ago), entities=cards)
            assert (counts["accepted"], counts["rejected"]) == (100, 1) and "100 series" in counts["errors"][0]
        assert sum("power_watts" in row.providers for row in Accelerator.objects.all()) == 100

    def test_an_agent_speaks_for_its_own_node_only(self, sender: Sender) -> None:
        counts = sender.send({"load1": [[1.0] * 4]}, entities=[{"kind": "node", "key": "other"}])
        assert counts["rejected"] == 4 and "cannot speak for the node 'other'" in counts["errors"][0]
        assert not Node.objects.filter(name="other").exists()

    def test_values_that_do_not_fit_the_times_are_refused_alone(self, sender: Sender) -> None:
        counts = sender.send({"power_watts": [None, [1.0, None]], "temperature_celsius": [None, [50.0] * 4]})
        assert (counts["accepted"], counts["rejected"]) == (4, 1) and "needs 4 values" in counts["errors"][0]


def test_the_usual_batch_costs_four_statements_and_a_transaction(sender: Sender) -> None:
    """Locks, the agent, one COPY a kind of entity; the key, the limits and the rows of its entities are remembered."""
    for ago in (30, 15):
        sender.send(times=grid(1, ago=ago))
    with CaptureQueriesContext(connection) as seen:
        assert sender.send(times=grid(1))["accepted"] == 2
    words = [query["sql"].split()[0] for query in seen.captured_queries]
    assert words == ["SAVEPOINT", "SELECT", "UPDATE", "COPY", "COPY", "RELEASE"]
