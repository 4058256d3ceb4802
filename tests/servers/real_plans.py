"""What a team tells Headroom to get plans of its imported history: a price, SLOs, a launch; and what the plans then say."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

Call = Callable[..., Any]
LAUNCHED, STEADY, BY_FORMULA = "llama-3.1-8b", "qwen-coder-7b", "resnet50"
SLO_SECONDS = {LAUNCHED: 10.0, STEADY: 15.0, BY_FORMULA: 20.0}  # end to end, p95
LAUNCH_DAYS, LAUNCH_FACTOR = 40, 3.0
NODE_PRICE, GPUS_EACH = 20.0, 2
HORIZONS = ("day", "week", "year")


@dataclass(frozen=True)
class Asked:
    """`since`: plans made later know all of it; `launch`: the day, Unix seconds."""

    since: float
    launch: float
    ids: dict[str, int]


def plans_ask(call: Call) -> Asked:
    """As a team does it, by the API; the plans are then made by the workers as those of any deployment are."""
    ids = {str(one["model_name"]): int(one["id"]) for one in call("deployments?limit=200")["results"]}
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    launch = today + timedelta(days=LAUNCH_DAYS)
    for node in ("gpu-1", "gpu-2"):
        body = {"kind": "node", "name": f"real/{node}", "hourly_rate": f"{NODE_PRICE}", "currency": "USD"}
        call("prices", body | {"valid_from": f"{today:%Y-%m-%d}", "source": "contract"})
    for model, seconds in SLO_SECONDS.items():
        call(f"deployments/{ids[model]}/slo", {"latency": "request_duration", "threshold_seconds": seconds}, method="PUT")
    start = f"{launch + timedelta(hours=9):%Y-%m-%dT%H:%M:%SZ}"
    body = {"kind": "launch", "name": "Nordwind launch", "start_at": start, "factor": LAUNCH_FACTOR}
    call("planned-events", body | {"deployment": ids[LAUNCHED]})
    since = time.time()
    for model in SLO_SECONDS:
        call(f"deployments/{ids[model]}/plan", {})
    return Asked(since, launch.timestamp(), ids)


def plan_of(call: Call, deployment: int) -> dict[str, Any]:
    return dict(call(f"deployments/{deployment}/plan"))


def are_made(call: Call, asked: Asked) -> bool:
    """The plans, and by themselves the forecasts: no night lies between the import and them."""
    plans = [plan_of(call, asked.ids[model]) for model in SLO_SECONDS]
    forecasts = call(f"deployments/{asked.ids[LAUNCHED]}/forecasts")
    learned = {one["horizon"] for one in forecasts if one["times"]}
    return all(moment(plan["made_at"]) > asked.since for plan in plans) and learned >= set(HORIZONS)


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def at_level(demand: dict[str, Any], level: float) -> np.ndarray:
    return np.array(demand["quantiles"][demand["levels"].index(level)])
