"""One replica of a model server, simulated event by event: links, CPU workers, and an engine that runs its batch iteration by iteration.

Knows nothing of the engine that is judged with it: it has machines and requests, no thresholds and no names of limits.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

BLOCK = 16  # tokens of a KV block
WAITING, DONE, FAILED, TIMED_OUT = 0, 1, 2, 3
# Columns of what is added up per step of the scrape.
BUSY, SM, TENSOR, DRAM, KERNEL, ENERGY, BY_POWER, BY_HEAT, CLOCK, SPILLED, PREEMPTED, PROMPT, ANSWER, ITERATIONS, BATCHED, HOST, DOWN = (
    range(17)
)
SUMS = 17
# Columns of what is seen at the end of a step.
RUNNING, QUEUED, CACHE, CELSIUS, MEMORY = range(5)
GAUGES = 5


class Machine(NamedTuple):
    """One accelerator (or a group that works as one) and the server on it. SI units."""

    flops: float  # peak per second at full clock
    flops_reached: float  # share of the peak that kernels of this model reach
    bandwidth: float  # peak bytes per second
    bandwidth_reached: float
    tensor: float  # 1: kernels run on the tensor pipe, 0: on the plain one
    memory: float  # bytes
    memory_held: float  # bytes taken before the first request: weights, runtime, KV pool
    token_flops: float
    token_traffic: float  # bytes moved per token worked on, beside weights and cache
    token_activation: float  # bytes that one token of a batch holds while it is worked on
    weight_bytes: float  # read once per iteration
    spill_bytes: float  # of the weights that do not fit and come over PCIe each iteration
    pcie: float
    cache_bytes: float  # per token in the KV cache; 0: none
    cache_tokens: float  # room of the KV cache
    slots: int
    budget: int  # tokens per iteration at most
    launch_seconds: float  # gaps between kernels, per iteration
    host_seconds: float  # scheduler on the host, per iteration
    memory_retry_seconds: float  # a failed allocation: cache flushed and tried again
    memory_failure: float  # chance that the request that did not fit is lost
    memory_crash: float  # chance that it takes the server down
    restart_seconds: float
    idle_watts: float
    swing_watts: float  # from idle to all pipes busy at full clock
    cap_watts: float
    room_celsius: float
    celsius_per_watt: float
    thermal_seconds: float
    hot_celsius: float
    patience_seconds: float  # a client gives up in the queue after this


@njit(cache=True, nogil=True)
def link_pass(ready: Floats, size: Floats, rate: float, base: float) -> Floats:
    """First come, first served over one link: when each transfer ends. `base`: propagation."""
    out = np.empty(ready.size)
    free = 0.0
    for i in range(ready.size):
        free = max(free, ready[i]) + size[i] / rate
        out[i] = free + base
    return out


@njit(cache=True, nogil=True)
def pool_pass(ready: Floats, service: Floats, workers: int) -> tuple[Floats, Floats]:
    """First come, first served at `workers` alike: when each starts and ends."""
    starts, ends = np.empty(ready.size), np.empty(ready.size)
    free = np.zeros(workers)
    for i in range(ready.size):
        w = 0
        for k in range(1, workers):
            if free[k] < free[w]:
                w = k
        starts[i] = max(free[w], ready[i])
        ends[i] = starts[i] + service[i]
        free[w] = ends[i]
    return starts, ends


@njit(cache=True, nogil=True)
def clock_of(machine: Machine, activity: float, heat_clock: float) -> tuple[float, float]:
    """Clock under the power cap for this activity, and the lower of it and that of the heat; 1 = full."""
    room = max(machine.cap_watts - machine.idle_watts, 1.0)
    wanted = max(machine.swing_watts * activity, 1.0)
    by_power = 1.0 if wanted <= room else max(0.2, (room / wanted) ** 0.42)  # dynamic power as clock ^ 2.4
    return by_power, min(by_power, heat_clock)


@njit(cache=True, nogil=True)
def engine_run(
    machine: Machine, ready: Floats, prompt: Counts, answer: Counts, end: float, step: float, warm: float, seed: int
) -> tuple[Floats, Floats, Floats, Counts, Floats, Floats]:
    """Serve requests that became ready at `ready` (ascending).

    Returns started, first token and finished times (NaN: never), how each ended, sums (steps, SUMS) and gauges (steps, GAUGES).
    """
    np.random.seed(seed)
    n = ready.size
    steps = int(np.ceil(end / step))
    started, first, finished = np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan)
    status = np.zeros(n, np.int64)
    sums, gauges = np.zeros((steps, SUMS)), np.zeros((steps, GAUGES))
    queue, head, tail = np.empty(n, np.int64), 0, 0
    back, backs = np.empty(machine.slots + 1, np.int64), 0  # pushed out of the cache: first in line again
    who, left, kept = np.zeros(machine.slots, np.int64), np.zeros(machine.slots, np.int64), np.zeros(machine.slots, np.int64)
    made = np.zeros(n, np.int64)
    running, arrived, at = 0, 0, 0
    blocks = int(machine.cache_tokens) // BLOCK
    free = blocks
    now, heat_clock, celsius = 0.0, 1.0, warm
    pool_high = 0.0  # the allocator keeps what it once took
    room = machine.memory - machine.memory_held
    while now < end:
        while arrived < n and ready[arrived] <= now:
            queue[tail] = arrived
            tail += 1
            arrived += 1
        while head < tail and now - ready[queue[head]] > machine.patience_seconds:
            status[queue[head]] = TIMED_OUT
            finished[queue[head]] = now
            head += 1
        busy, activity, gap, retried, crashed = 0.0, 0.0, 0.0, 0, False
        sm, tensor, dram, spill = 0.0, 0.0, 0.0, 0.0
        tokens, decoding, context, batch, prefilled = 0, 0, 0.0, 0, 0
        pushed_out = 0
        clock = 1.0
        by_power = 1.0
        if running == 0 and backs == 0 and head == tail:
            gap = min(ready[arrived] if arrived < n else end, now + step / 4) - now
            gap = max(gap, 1e-6)
        else:
            # Each sequence that writes needs a new block now and then; without one the newest is pushed out.
            r = 0
            while r < running:
                if machine.cache_bytes > 0 and left[r] == 0 and kept[r] % BLOCK == 0:
                    if free > 0:
                        free -= 1
                    else:
                        last = running - 1
                        free += (kept[last] + BLOCK - 1) // BLOCK
                        back[backs] = who[last]
                        backs += 1
                        running -= 1
                        pushed_out += 1
                        continue
                r += 1
            for r in range(running):
                if left[r] == 0:
                    decoding += 1
                    context += kept[r]
            tokens = decoding
            budget = machine.budget - decoding
            for r in range(running):
                if left[r] > 0 and budget > 0:
                    part = min(left[r], budget)
                    budget -= part
                    tokens += part
                    prefilled += part
                    context += kept[r]
            while running < machine.slots and budget > 0 and (backs > 0 or head < tail) and pushed_out == 0:
                chosen = back[backs - 1] if backs > 0 else queue[head]
                need = prompt[chosen] + made[chosen]
                if machine.cache_bytes > 0:
                    want = (need + BLOCK - 1) // BLOCK + 1
                    if want > blocks:
                        status[chosen] = FAILED
                        finished[chosen] = now
                        if backs > 0:
                            backs -= 1
                        else:
                            head += 1
                        continue
                    if want > free:
                        break
                part = min(need, budget)
                if machine.token_activation > 0 and (tokens + part) * machine.token_activation > room:
                    retried += 1
                    pool_high = room
                    if tokens == 0 or np.random.random() < machine.memory_failure:
                        status[chosen] = FAILED
                        finished[chosen] = now
                        head += 1
                    if np.random.random() < machine.memory_crash:
                        crashed = True
                    break
                if backs > 0:
                    backs -= 1
                else:
                    head += 1
                if machine.cache_bytes > 0:
                    free -= (need + BLOCK - 1) // BLOCK
                who[running], left[running], kept[running] = chosen, need, need
                if np.isnan(started[chosen]):
                    started[chosen] = now
                running += 1
                budget -= part
                tokens += part
                prefilled += part
            batch = running
            if machine.token_activation > 0:
                pool_high = max(pool_high, min(tokens * machine.token_activation, room))
            work = tokens * machine.token_flops
            moved = machine.weight_bytes + context * machine.cache_bytes + tokens * machine.token_traffic
            ideal_dram = moved / (machine.bandwidth * machine.bandwidth_reached)
            ideal_math = work / (machine.flops * machine.flops_reached)
            ideal = max(ideal_math, ideal_dram, 1e-7)
            # Activity that the full clock would show decides the power that is asked for.
            activity = 0.25 + 0.5 * ideal_math / ideal + 0.25 * ideal_dram / ideal
            activity *= ideal / (ideal + machine.launch_seconds + machine.host_seconds)
            by_power, clock = clock_of(machine, activity, heat_clock)
            math = ideal_math / clock
            roof = (math**4 + ideal_dram**4) ** 0.25
            spill = machine.spill_bytes / machine.pcie
            roof_seen = max(roof, spill)
            if tokens > 0:
                busy = roof_seen + machine.launch_seconds
                gap = machine.host_seconds
                sm = roof * 0.94 + (busy - roof) * 0.12
                tensor = machine.tensor * math * machine.flops_reached
                dram = ideal_dram * machine.bandwidth_reached
            gap += retried * machine.memory_retry_seconds
            gap = max(gap, 1e-5)
        whole = busy + gap
        # Heat follows power; a hot chip lowers its clock until it no longer is.
        watts = machine.idle_watts + machine.swing_watts * activity * (clock**2.4) * (1.0 if busy > 0 else 0.0)
        settled = machine.room_celsius + machine.celsius_per_watt * watts
        celsius = settled + (celsius - settled) * np.exp(-whole / machine.thermal_seconds)
        limited_by_heat = heat_clock < 0.995 and heat_clock < by_power
        if celsius > machine.hot_celsius:
            heat_clock = max(0.25, heat_clock - 0.02 * min(whole, 5.0))
        elif celsius < machine.hot_celsius - 2.0:
            heat_clock = min(1.0, heat_clock + 0.02 * min(whole, 5.0))
        later = now + whole
        while at < steps and later >= (at + 1) * step:
            gauges[at, RUNNING], gauges[at, QUEUED] = running, tail - head + backs
            while arrived < n and ready[arrived] <= (at + 1) * step:
                queue[tail] = arrived
                tail += 1
                arrived += 1
                gauges[at, QUEUED] += 1
            gauges[at, CACHE] = 1.0 - free / blocks if blocks > 0 else np.nan
            gauges[at, CELSIUS] = celsius
            gauges[at, MEMORY] = machine.memory_held + pool_high
            at += 1
        place = min(int(now / step), steps - 1)
        row = sums[place]
        row[BUSY] += busy + (gap if busy > 0 else 0.0)
        row[KERNEL] += busy
        row[SM] += sm
        row[TENSOR] += tensor
        row[DRAM] += dram
        row[ENERGY] += watts * whole
        row[HOST] += machine.host_seconds if busy > 0 else 0.0
        if busy > 0 and by_power < 0.995:
            row[BY_POWER] += whole
        if busy > 0 and limited_by_heat:
            row[BY_HEAT] += whole
        row[CLOCK] += clock * whole if busy > 0 else 0.0
        row[SPILLED] += machine.spill_bytes if busy > 0 else 0.0
        row[PREEMPTED] += pushed_out
        row[PROMPT] += prefilled
        row[ANSWER] += decoding
        if busy > 0:
            row[ITERATIONS] += 1
            row[BATCHED] += batch
        now = later
        if crashed:
            for r in range(running):
                status[who[r]] = FAILED
                finished[who[r]] = now
            running, backs, free, pool_high = 0, 0, blocks, 0.0
            row[DOWN] += 1
            now += machine.restart_seconds
            continue
        if tokens == 0:
            continue
        budget = machine.budget - decoding
        r = 0
        while r < running:
            chosen = who[r]
            ended = False
            if left[r] > 0:
                part = min(left[r], budget)
                budget -= part
                left[r] -= part
                if left[r] == 0 and part > 0:
                    if made[chosen] == 0:
                        first[chosen] = now
                        made[chosen] = 1
                    ended = made[chosen] >= answer[chosen]
            else:
                made[chosen] += 1
                kept[r] += 1
                ended = made[chosen] >= answer[chosen]
            if ended:
                status[chosen] = DONE
                finished[chosen] = now
                if machine.cache_bytes > 0:
                    free += (kept[r] + BLOCK - 1) // BLOCK
                # The order of admission is kept: who came last is pushed out first.
                for k in range(r, running - 1):
                    who[k], left[k], kept[k] = who[k + 1], left[k + 1], kept[k + 1]
                running -= 1
            else:
                r += 1
    return started, first, finished, status, sums, gauges
