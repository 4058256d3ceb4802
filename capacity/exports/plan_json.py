"""A plan as JSON, for scripts: all of it, as stored, with the version of its form."""

import json
from dataclasses import asdict

from capacity.analysis.plan_records import PlanResult, record_json
from capacity.exports.names import Names

SCHEMA = "headroom.plan/1"


def plan_json(result: PlanResult, *, names: Names | None = None) -> str:
    """Keys: schema, workload (None where it is not known), plan (the fields of `PlanResult`)."""
    content = {"schema": SCHEMA, "workload": None if names is None else asdict(names), "plan": record_json(result)}
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
