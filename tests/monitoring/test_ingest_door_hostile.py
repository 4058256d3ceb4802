"""Whatever comes: no 5xx, each answer under a second, every refusal a problem; and batches against a plain dictionary."""

import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from monitoring.agents.known import remembered
from monitoring.models import Accelerator, Agent
from tests.monitoring.ingest_door import Sender, gpu, grid
from tests.monitoring.ingest_mutants import mutant, whole
from tests.telemetry import FRESH_SEEDS, NOON_SECONDS, seed_of, table_rows

pytestmark = pytest.mark.django_db
MUTANTS = 400  # of each seed; `make chaos` sends 100,000
STATUSES = {200, 400, 411, 413, 415}


@pytest.fixture
def sender() -> Sender:
    return Sender()


def test_the_batch_that_is_mutated_is_good(sender: Sender) -> None:
    """Otherwise the mutants would all be refused for one reason."""
    counts = sender.post(whole()).json()
    assert (counts["accepted"], counts["rejected"]) == (8, 0)


@pytest.mark.parametrize("seed", [1, 2, *FRESH_SEEDS])
def test_no_mutant_gets_a_5xx_or_takes_a_second(sender: Sender, seed: int | None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    rng = random.Random(seed_of(seed))
    sender.post(whole())  # the first request of a process loads what it needs
    statuses: dict[int, int] = {}
    for number in range(MUTANTS):
        body, headers = mutant(rng)
        began = time.process_time()  # its own time: the machine may be busy with other tests
        answer = sender.post(body, **headers)
        assert answer.status_code in STATUSES and time.process_time() - began < 1, (number, answer.status_code, answer.content, body[:2000])
        if answer.status_code == 200:
            assert set(answer.json()) == {"accepted", "duplicate", "rejected", "errors", "received_at"}
        else:
            assert answer["Content-Type"] == "application/problem+json" and answer.json()["detail"]
        statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
    assert statuses[200] > MUTANTS / 20 and statuses[400] > MUTANTS / 20, statuses  # both doors were tried


class Dictionary:
    """What the door must have done: the first value of (card, column, instant) stands."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, float], dict[str, float]] = {}

    def push(self, times: list[float], cards: list[str], columns: dict[str, list[Any]]) -> tuple[int, int, int]:
        accepted = duplicate = rejected = 0
        for name, given in columns.items():
            for card, values in zip(cards, given, strict=True):
                for at, value in zip(times, values or [], strict=False):
                    if value is None:
                        continue
                    if not 0 <= value <= 20000 or at > time.time() + 600:
                        rejected += 1
                    elif name in self.stored.setdefault((card, at), {}):
                        duplicate += 1
                    else:
                        self.stored[card, at][name] = value
                        accepted += 1
        return accepted, duplicate, rejected


def random_batch(rng: random.Random, ends: list[float]) -> tuple[list[float], list[str], dict[str, list[Any]]]:
    """Instants old and new, cards that come and go, gaps, bad values."""
    times = sorted(rng.sample(ends, rng.randint(1, 6)))
    cards = rng.sample(["GPU-0", "GPU-1", "GPU-2"], rng.randint(1, 3))
    columns: dict[str, list[Any]] = {}
    for name in rng.sample(["power_watts", "power_limit_watts", "energy_joules_per_second"], rng.randint(1, 3)):
        values = [[rng.choice((None, -5.0, float(rng.randrange(1, 500)))) for _ in times] for _ in cards]
        columns[name] = [rng.choice((None, own, own)) for own in values]
    return times, cards, columns


@pytest.mark.parametrize("seed", [3, *FRESH_SEEDS])
def test_random_batches_leave_what_a_dictionary_would(sender: Sender, seed: int | None) -> None:
    rng, model = random.Random(seed_of(seed)), Dictionary()
    ends = [*grid(20), grid(1)[0] + 3600]
    sent: list[Any] = []
    for _ in range(25):
        batch = rng.choice(sent) if sent and rng.random() < 0.3 else random_batch(rng, ends)
        sent.append(batch)
        times, cards, columns = batch
        if rng.random() < 0.2:
            remembered.clear()  # another process takes it
        counts = sender.send(columns, times=times, entities=[gpu(card) for card in cards])
        assert (counts["accepted"], counts["duplicate"], counts["rejected"]) == model.push(times, cards, columns)
    names = ("power_watts", "power_limit_watts", "energy_joules_per_second")
    uuids = dict(Accelerator.objects.values_list("pk", "uuid"))
    found = {(uuids[pk], round(at + NOON_SECONDS, 3)): values for pk, at, *values in table_rows("accelerator_sample", *names)}
    assert found == {key: [values.get(name) for name in names] for key, values in model.stored.items() if values}
    assert Agent.objects.count() == 1


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    remembered.clear()
    yield
