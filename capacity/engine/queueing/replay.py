"""A first-come, first-served queue replayed request by request: exact for any arrivals, any service times, any change of capacity."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from capacity.engine.queueing.compiled import compiled

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

WARM_UP_RATIO = 0.05  # first requests left out of percentiles: the queue starts empty, the real one did not


@compiled("void(float64[::1], int64, float64)")
def heap_push(heap: Floats, size: int, value: float) -> None:
    """Put `value` into the min-heap heap[:size]; the caller counts the size up."""
    place = size
    while place > 0:
        parent = (place - 1) >> 1
        if heap[parent] <= value:
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = value


@compiled("float64(float64[::1], int64)")
def heap_pop(heap: Floats, size: int) -> float:
    """Take the least value of the min-heap heap[:size]; the caller counts the size down."""
    least, value = heap[0], heap[size - 1]
    size -= 1
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[place] = heap[child]
        place = child
    if size > 0:
        heap[place] = value
    return float(least)


@compiled("void(float64[::1], float64[::1], float64[::1], int64[::1], float64, float64[::1])")
def queue_run(arrivals: Floats, service: Floats, change_times: Floats, change_slots: Counts, patience: float, wait: Floats) -> None:
    """Fill `wait`: seconds until each request starts; above `patience` it gave up and used no slot; inf where no slot ever comes."""
    heap = np.empty(max(change_slots.max(), 1) + 1)  # when each slot is next free
    slots = 0
    change = 0
    last = 0.0  # start of the last request served: nobody starts before the one before him
    for i in range(arrivals.size):
        start = arrivals[i] if i == 0 else max(last, arrivals[i])
        while True:
            while change < change_times.size and change_times[change] <= start:
                while slots < change_slots[change]:
                    heap_push(heap, slots, change_times[change])
                    slots += 1
                while slots > change_slots[change]:  # idle slots leave first, a busy one when its request is done
                    heap_pop(heap, slots)
                    slots -= 1
                change += 1
            if slots > 0 and heap[0] <= start:
                break
            coming = change_times[change] if change < change_times.size else np.inf
            start = min(heap[0], coming) if slots > 0 else coming
            if start == np.inf:
                break
        wait[i] = start - arrivals[i]
        if wait[i] > patience:
            last = max(last, arrivals[i])
            continue
        last = start
        if start < np.inf:
            heap_pop(heap, slots)
            heap_push(heap, slots - 1, start + service[i])


@dataclass(frozen=True)
class Capacity:
    """Slots over time: from times[i] on there are slots[i]; times in seconds, ascending, on the arrivals' clock."""

    times: Floats
    slots: Counts

    @staticmethod
    def constant(slots: int) -> "Capacity":
        return Capacity(times=np.array([-np.inf]), slots=np.array([slots], dtype=np.int64))

    @staticmethod
    def serving(ordered: Counts, *, step_seconds: float, startup_seconds: float, slots_per_replica: int) -> "Capacity":
        """Slots of replicas ordered step by step, each serving only `startup_seconds` after its order.

        ordered: (n,) replicas asked for at the start of each step. A step serves the least number ordered since
        `startup_seconds` before: what was added since is still starting, what was removed is gone at once.
        """
        if startup_seconds < 0 or not step_seconds > 0 or slots_per_replica < 1:
            raise ValueError(
                "needed startup_seconds of 0 or more, step_seconds above 0 and slots_per_replica of 1 or more, "
                f"got {startup_seconds}, {step_seconds} and {slots_per_replica}"
            )
        return Capacity(
            times=np.arange(float(len(ordered))) * np.float64(step_seconds),
            slots=started(ordered, steps=int(np.ceil(startup_seconds / step_seconds))) * slots_per_replica,
        )


def started(ordered: Counts, *, steps: int) -> Counts:
    """Of replicas ordered step by step, those that serve: the least ordered in this step and the `steps` before it."""
    padded = np.concatenate([np.full(steps, ordered[0]), ordered])
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, steps + 1).min(axis=1), dtype=np.int64)


def replay(arrivals: Floats, *, service: Floats, capacity: Capacity | int, patience_seconds: float = np.inf) -> Floats:
    """Send requests through a first-come, first-served queue and say how long each waited.

    arrivals: (n,) seconds, ascending; service: (n,) seconds in the same order, 0 or more; no gaps.
    capacity: slots over time, or one number for all of it. A request whose wait would pass `patience_seconds` leaves
    when it gives up and uses no slot; its wait is what it would have been.
    Returns (n,) seconds of waiting, inf where no slot ever comes. ValueError says what was wrong with the input.
    """
    arrivals, service = np.ascontiguousarray(arrivals, dtype=np.float64), np.ascontiguousarray(service, dtype=np.float64)
    check_requests(arrivals, service)
    capacity = Capacity.constant(capacity) if isinstance(capacity, int | np.integer) else capacity
    if (capacity.slots < 0).any():
        raise ValueError(f"slots must be 0 or more, got {int(capacity.slots.min())}")
    wait = np.empty(arrivals.size)
    if arrivals.size:
        times = np.ascontiguousarray(capacity.times, dtype=np.float64)
        queue_run(arrivals, service, times, np.ascontiguousarray(capacity.slots, dtype=np.int64), float(patience_seconds), wait)
    return wait


def check_requests(arrivals: Floats, service: Floats) -> None:
    if arrivals.shape != service.shape or arrivals.ndim != 1:
        raise ValueError(f"needed one service time for each arrival, got {arrivals.shape} arrivals and {service.shape} service times")
    if not (np.isfinite(arrivals).all() and np.isfinite(service).all()):
        raise ValueError("arrivals and service times must be numbers without gaps, got NaN or infinity among them")
    if (np.diff(arrivals) < 0).any():
        raise ValueError("arrivals must be ascending, got a time before its predecessor")
    if (service < 0).any():
        raise ValueError(f"service times must be 0 or more, got {service.min():g} s")


def settled(waits: Floats) -> Floats:
    """Waits without the warm-up at the start."""
    return waits[int(waits.size * WARM_UP_RATIO) :]
