"""Deployments that get into trouble and out of it, channels to a real receiver, and what it must have heard in the end.

A deployment's queue is long for four minutes every seventy: one alert that fires and resolves, and never flaps.
"""

import base64
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from monitoring.access import secret_encrypt
from monitoring.alerts.defaults import rules_ship
from monitoring.models import AllowedAddress, Channel, Deployment, Notification, NotificationState, Rule
from monitoring.store import rows_write
from tests.chaos.receiver import STEP, Delivery, Edge, Receiver
from tests.factories import make_deployment, make_rule
from tests.telemetry import NOON_SECONDS, make_rows

CALM = 240.0  # seconds into an incident from which on all is well
HIGH, LOW, LIMIT = 20.0, 5.0, 10.0  # requests that wait
SIGNING = "whsec_" + base64.b64encode(b"chaos-chaos-chaos-chaos-chaos-32").decode()
Floats = NDArray[np.float64]
PHASES = {"fire": 0.0, "resolve": CALM}


@dataclass
class World:
    """Everything a kill needs in the database of the test."""

    receiver: Receiver
    channels: list[Channel]
    deployments: list[Deployment]

    @property
    def database(self) -> str:
        return str(connection.settings_dict["NAME"])

    @property
    def edges_each(self) -> int:
        """Of one phase of an incident."""
        return len(self.channels) * len(self.deployments)

    def begins(self, incident: int) -> float:
        return NOON_SECONDS + incident * STEP

    def incident_write(self, incident: int) -> None:
        """A value a minute of each deployment, from its trouble to well after it."""
        minutes = np.arange(0.0, 600.0, 60.0)
        values = np.where(minutes < CALM, HIGH, LOW)
        size = len(self.deployments)
        self.telemetry_write(np.tile(incident * STEP + minutes, size), np.tile(values, size), ids=np.repeat(self.ids, len(minutes)))

    @property
    def ids(self) -> list[int]:
        return [deployment.pk for deployment in self.deployments]

    def telemetry_write(self, times: Floats, values: Floats, *, ids: Sequence[int] | NDArray[np.int64]) -> None:
        """Of each row seconds after noon, requests that wait, and whose they are."""
        rows_write(make_rows(list(times), ids=list(ids), requests_waiting=list(values)), overwrite=True)

    def planned(self, incidents: Iterable[int], *, phases: Sequence[str] = ("fire", "resolve")) -> set[Edge]:
        pairs = [(channel.name, deployment.name) for channel in self.channels for deployment in self.deployments]
        return {Edge(*pair, incident, phase) for incident in incidents for phase in phases for pair in pairs}

    def outbox(self) -> tuple[int, int]:
        """Rows there are, and those some sender holds."""
        return Notification.objects.count(), Notification.objects.filter(state=NotificationState.SENDING).count()


@dataclass(frozen=True)
class Outcome:
    """What the receiver heard beside what it had to hear."""

    planned: int
    lost: int  # edges it never heard of
    twice: int  # deliveries beyond the first
    other_key: int  # edges that came under more than one key
    strange: int  # heard, but nothing to be told
    disordered: int  # ends heard before their beginnings

    @property
    def words(self) -> str:
        return f"{self.planned - self.lost} of {self.planned} edges delivered, {self.lost} lost, {self.twice} twice"


def outcome_of(deliveries: Sequence[Delivery], planned: set[Edge]) -> Outcome:
    keys: dict[Edge, list[str]] = defaultdict(list)
    first: dict[Edge, int] = {}
    for number, delivery in enumerate(deliveries):
        keys[delivery.edge].append(delivery.key)
        first.setdefault(delivery.edge, number)
    ends = [edge for edge in first if edge.event == "resolve"]
    begins = {edge: first.get(edge._replace(event="fire")) for edge in ends}
    return Outcome(
        planned=len(planned),
        lost=len(planned - keys.keys()),
        twice=sum(len(heard) - 1 for heard in keys.values()),
        other_key=sum(len(set(heard)) > 1 for heard in keys.values()),
        strange=len(keys.keys() - planned),
        disordered=sum(begun is not None and begun > first[edge] for edge, begun in begins.items()),
    )


def world_make(receiver: Receiver, *, channels: int, deployments: int) -> World:
    rules_ship(set())
    Rule.objects.update(enabled=False)  # the one below speaks alone
    make_rule("queue", signal="requests_waiting", threshold=LIMIT, window_seconds=60, for_seconds=0, keep_firing_seconds=0)
    AllowedAddress.objects.create(network="127.0.0.1/32", port=receiver.port, reason="the test")
    made = [channel_make(receiver, f"channel-{number}") for number in range(channels)]
    return World(receiver, made, [make_deployment(f"model-{number}") for number in range(deployments)])


def channel_make(receiver: Receiver, name: str, *, kind: str = "webhook") -> Channel:
    """The receiver knows it by its path."""
    secret = secret_encrypt(json.dumps({"url": f"{receiver.url}/{name}", "signing": [SIGNING]}))
    return Channel.objects.create(name=name, kind=kind, secret=secret, group_wait_seconds=0)


def doubled(edges: Iterable[object]) -> int:
    return sum(count - 1 for count in Counter(edges).values())
