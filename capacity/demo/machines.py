"""What accelerators, hosts and replicas would show under the load of the deployments that stand on them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from capacity.demo.fleet import EDGE_SILENT, HOSTS, MIB, SERVICES, SHAKY_HOST, SILENT_HOST, TTS, UNPLACED, VISION
from capacity.demo.noise import Floats, normal, smooth, uniform
from capacity.demo.records import GIB, Hardware, Host, Service
from capacity.demo.shapes import DAY, HOUR
from capacity.demo.signals import Flow, growth, replicas_at

Bools = np.ndarray[tuple[int], np.dtype[np.bool_]]


@dataclass(frozen=True)
class Card:
    """One accelerator: a GPU, or an instance of a parent GPU."""

    host: Host
    position: int  # of a MIG instance: its number on the parent
    mig: bool = False

    @property
    def hardware(self) -> Hardware:
        assert self.host.hardware is not None
        return self.host.hardware

    @property
    def key(self) -> tuple[str, int, bool]:
        return self.host.name, self.position, self.mig

    @property
    def stream(self) -> int:
        return 7_000_000_000 + 64 * (1000 * HOSTS.index(self.host) + 100 * self.mig + self.position)

    @property
    def uuid(self) -> str:
        digits = f"{int(uniform(self.stream, np.array([1]))[0] * 2**48):012x}"
        return f"{'MIG' if self.mig else 'GPU'}-demo{HOSTS.index(self.host):04d}-{self.position:04d}-{digits}"

    @property
    def memory_bytes(self) -> float:
        if not self.mig:
            return self.hardware.memory_bytes
        assert self.host.mig is not None
        return self.host.mig[3]


@dataclass(frozen=True)
class Copy:
    """One replica: its number, its host and its cards; `share` of each card is its own."""

    service: Service
    number: int
    host: Host
    cards: tuple[Card, ...]
    share: float

    @property
    def name(self) -> str:
        tail = f"{int(uniform(self.service.stream + 40, np.array([self.number]))[0] * 16**5):05x}"
        return f"{self.service.name}-{self.number}-{tail}"

    @property
    def skew(self) -> float:
        """Its part of the traffic against an even one."""
        return 1.0 + 0.03 * float(normal(self.service.stream + 41, np.array([self.number]))[0])


@cache
def cards() -> tuple[Card, ...]:
    found = []
    for host in HOSTS:
        found += [Card(host, position) for position in range(host.accelerators)]
        found += [Card(host, position, mig=True) for position in range(host.mig[2] if host.mig else 0)]
    return tuple(found)


@cache
def copies() -> tuple[Copy, ...]:
    by_name = {host.name: host for host in HOSTS}
    found: list[Copy] = []
    for service in SERVICES:
        number = 0
        for place in service.places:
            host = by_name[place.host]
            groups = [place.positions[at : at + place.each] for at in range(0, len(place.positions), place.each)] or [()] * place.replicas
            for group in groups:
                mine = tuple(Card(host, position, place.mig) for position in group)
                found.append(Copy(service, number, host, mine, place.share))
                number += 1
    return tuple(found)


def copy_runs(copy: Copy, middle: Floats, anchor: float) -> Bools:
    """At which steps the replica answers."""
    return np.asarray(replicas_at(copy.service, middle, anchor) > copy.number)


def card_busy(card: Card, flows: dict[str, Flow], middle: Floats, anchor: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Engine, memory rate and tensor activity, and the share of memory held, of all replicas on the card."""
    engine, rate, tensor, held = (np.zeros(middle.shape) for _ in range(4))
    for copy in copies():
        if card not in copy.cards:
            continue
        service, runs = copy.service, copy_runs(copy, middle, anchor)
        load = np.minimum(flows[service.name].load * copy.skew, 1.0) * runs
        part = load**service.busy_curve * copy.share
        engine, tensor = engine + service.busy_full * part, tensor + service.tensor_full * part
        rate = rate + service.memory_rate_full * part
        held = held + service.memory_share * runs * (1.0 if service.workload_kind == "serving" else np.sign(load))
    stranger = UNPLACED.get((card.host.name, card.position), 0.0) * (not card.mig)
    wander = 1.0 + 0.4 * smooth(card.stream, middle, 2 * HOUR)
    return engine + stranger * wander, rate + stranger * 0.6 * wander, tensor + stranger * 0.3, held + 0.3 * (stranger > 0)


def card_columns(card: Card, flows: dict[str, Flow], times: Floats, *, step: float, anchor: float) -> dict[str, Floats]:
    engine, rate, tensor, held = card_busy(card, flows, times - step / 2, anchor)
    shake = [1.0 + 0.012 * np.sqrt(60.0 / step) * normal(card.stream + n, np.round(times).astype(np.int64)) for n in range(1, 5)]
    engine, rate, tensor = (np.clip(part * noise, 0.0, 0.995) for part, noise in zip((engine, rate, tensor), shake[:3], strict=True))
    columns = {
        "gr_engine_active_ratio": engine,
        "sm_active_ratio": engine * 0.9,
        "tensor_active_ratio": tensor,
        "dram_active_ratio": rate,
        "gpu_memory_used_bytes": np.minimum(card.memory_bytes * held + 600 * MIB, 0.985 * card.memory_bytes),
        "gpu_memory_total_bytes": np.full(times.shape, card.memory_bytes),
    }
    if not card.mig and (card.host.mig is None or card.host.mig[0] != card.position):
        columns["gpu_utilization_ratio"] = np.minimum(1.0, engine * 1.05)
    return columns if card.mig else columns | board_columns(card, engine, rate, noise=shake[3])


def board_columns(card: Card, engine: Floats, rate: Floats, *, noise: Floats) -> dict[str, Floats]:
    """What only the whole board has: power, heat, clock."""
    hardware = card.hardware
    drawn = np.minimum(0.99, 0.62 * engine + 0.24 * rate)
    power = (hardware.idle_watts + (hardware.power_limit_watts - hardware.idle_watts) * drawn) * noise
    part = power / hardware.power_limit_watts
    return {
        "power_watts": power,
        "power_limit_watts": np.full(engine.shape, hardware.power_limit_watts),
        "energy_joules_per_second": power * 1.004,
        "temperature_celsius": np.round(29.0 + 41.0 * part),
        "sm_clock_hertz": hardware.clock_hertz * (1.0 - 0.05 * part),
        "throttle_power_ratio": np.clip((part - 0.93) * 4.0, 0.0, 1.0),
        "throttle_thermal_ratio": np.zeros(engine.shape),
    }


def parent_flows(card: Card, columns: dict[tuple[str, int, bool], dict[str, Floats]]) -> dict[str, Floats] | None:
    """Engine and memory of a partitioned GPU are those of its instances, by their size; None for other cards."""
    host = card.host
    if card.mig or host.mig is None or host.mig[0] != card.position:
        return None
    parts = [columns[host.name, number, True] for number in range(host.mig[2])]
    names = ("gr_engine_active_ratio", "sm_active_ratio", "tensor_active_ratio", "dram_active_ratio")
    mixed: dict[str, Floats] = {name: np.add.reduce([part[name] for part in parts]) * 2.0 / 7.0 for name in names}
    return mixed | {"gpu_memory_used_bytes": np.add.reduce([part["gpu_memory_used_bytes"] for part in parts])}


def cards_columns(flows: dict[str, Flow], times: Floats, *, step: float, anchor: float) -> dict[tuple[str, int, bool], dict[str, Floats]]:
    """All columns of all accelerators, by (host, position, is an instance)."""
    columns = {card.key: card_columns(card, flows, times, step=step, anchor=anchor) for card in cards()}
    for card in cards():
        mixed = parent_flows(card, columns)
        if mixed is not None:
            board = board_columns(card, mixed["gr_engine_active_ratio"], mixed["dram_active_ratio"], noise=np.ones(times.shape))
            columns[card.key] = columns[card.key] | mixed | board
    return columns


def host_seen(host: Host, times: Floats, anchor: float) -> Bools:
    """Steps of which the host told anything: one is silent now, another loses its link most nights at 01:30 UTC."""
    if host.name == SILENT_HOST:
        return np.asarray(times <= anchor + EDGE_SILENT)
    if host.name == SHAKY_HOST:
        hour = (times % DAY) / HOUR
        bad_night = uniform(99, np.floor(times / DAY).astype(np.int64)) < 0.6
        return np.asarray(~(bad_night & (hour > 1.5) & (hour <= 1.9)))
    return np.ones(times.shape, dtype=np.bool_)


def host_columns(host: Host, used: list[tuple[Copy, dict[str, Floats]]], times: Floats, *, step: float) -> dict[str, Floats]:
    """A host carries its replicas and a little of its own; `used` are the columns of the replicas on it."""
    stream = 8_000_000_000 + 64 * HOSTS.index(host)
    shake = 1.0 + 0.02 * np.sqrt(60.0 / step) * normal(stream, np.round(times).astype(np.int64))
    cores = (0.012 * host.cores + sum((part["cpu_usage_cores"] for _, part in used), np.zeros(times.shape))) * shake
    memory = 3 * GIB + 0.02 * host.memory_bytes + sum((part["memory_used_bytes"] for _, part in used), np.zeros(times.shape))
    requests = sum((part.get("requests_per_second", 0.0) for _, part in used), np.zeros(times.shape))
    busy = np.clip(cores / host.cores, 0.0, 0.995)
    days = (times % (28 * DAY)) / (28 * DAY)  # images and logs are cleared every four weeks
    return {
        "cpu_utilization_ratio": busy,
        "cpu_cores": np.full(times.shape, float(host.cores)),
        "load1": cores * 1.06,
        "memory_used_bytes": np.minimum(memory, 0.97 * host.memory_bytes),
        "memory_total_bytes": np.full(times.shape, host.memory_bytes),
        "disk_used_bytes": host.disk_bytes * (0.31 + 0.22 * days + 0.01 * (stream // 64 % 7)),
        "disk_total_bytes": np.full(times.shape, host.disk_bytes),
        "disk_read_bytes_per_second": (2e5 + 3e4 * cores) * shake,
        "disk_written_bytes_per_second": (9e5 + 2e4 * cores) * shake,
        "network_receive_bytes_per_second": (4e5 + 9e3 * requests) * shake,
        "network_transmit_bytes_per_second": (3e5 + 5e3 * requests) * shake,
        "cpu_pressure_ratio": np.clip(0.12 * busy**4 * growth(busy, 0.2), 0.0, 1.0),
        "memory_pressure_ratio": np.zeros(times.shape),
        "io_pressure_ratio": np.clip(0.004 * shake, 0.0, 1.0),
    }


REPLICA_SPLIT = ("requests_per_second", "requests_running", "requests_waiting", "cpu_usage_cores", "memory_used_bytes")


def copies_columns(
    flows: dict[str, Flow], columns: dict[str, dict[str, Floats]], times: Floats, *, step: float, anchor: float
) -> Iterator[tuple[Copy, Bools, dict[str, Floats]]]:
    """Each replica with the steps at which it answers and its part of its deployment's columns."""
    for copy in copies():
        whole, runs = columns[copy.service.name], copy_runs(copy, times - step / 2, anchor)
        part = copy.skew / np.maximum(flows[copy.service.name].replicas, 1.0)
        mine = {name: np.where(runs, whole[name] * part, 0.0) for name in REPLICA_SPLIT if name in whole}
        if "kv_cache_usage_ratio" in whole:
            mine["kv_cache_usage_ratio"] = np.clip(whole["kv_cache_usage_ratio"] * min(copy.skew, 1.0), 0.0, 1.0)
        yield copy, runs, mine


LOST_NOT_SCALED = (TTS, VISION)  # their replicas come and go by failure: the placement stays
