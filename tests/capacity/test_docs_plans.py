"""docs/plans.md explains every number of a plan, and none that is not there."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from capacity.analysis import plan_records
from capacity.analysis.plan_assumed import APPROVAL_DAYS, LEAD_DAYS, STARTUP_SECONDS
from capacity.analysis.plan_findings import NEAR_DAYS, RULE
from capacity.analysis.plan_jobs import MOST_SCENARIOS
from capacity.analysis.plan_replay import REPLAY_DAYS

PAGE = (Path(__file__).resolve().parent.parent.parent / "docs" / "plans.md").read_text()
RECORDS = {
    "": plan_records.PlanResult,
    "demand.": plan_records.Demand,
    "capacity.": plan_records.Capacity,
    "run_out.": plan_records.RunOut,
    "curve.": plan_records.Curve,
    "points.": plan_records.CurvePoint,
    "floor.": plan_records.Floor,
    "replayed.": plan_records.Replayed,
    "policies.": plan_records.Policy,
    "cost.": plan_records.Cost,
    "risk.": plan_records.Risk,
    "assumptions.": plan_records.Assumption,
}
SECTIONS = {"demand", "capacity", "run_out", "curve", "floor", "replayed", "cost", "risk"}
KNOWN = {f"{prefix}{field.name}" for prefix, record in RECORDS.items() for field in fields(record)} - SECTIONS
FIRST_CELL = re.compile(r"^\| ((?:`[a-z_0-9.]+`(?:, )?)+) \|", re.MULTILINE)
TOLD = {name for cell in FIRST_CELL.findall(PAGE) for name in re.findall(r"`([a-z_0-9.]+)`", cell)}


def test_every_field_is_explained() -> None:
    told = TOLD | set(re.findall(r"`(assumptions\.[a-z]+)`", PAGE))
    assert not KNOWN - told


def test_no_field_is_explained_that_does_not_exist() -> None:
    assert not TOLD - KNOWN


@pytest.mark.parametrize("record", [plan_records.Holding, plan_records.Step])
def test_parts_of_a_line_are_named(record: type) -> None:
    assert [field.name for field in fields(record) if f"`{field.name}`" not in PAGE] == []


def test_figures_of_the_page_are_those_of_the_code() -> None:
    for words in (
        f"else {LEAD_DAYS:g} and {APPROVAL_DAYS:g} days",
        f"else {STARTUP_SECONDS:g} s, assumed",
        f"`{RULE}` is raised while an order is due within {NEAR_DAYS:g} days",
        f"The last {REPLAY_DAYS} whole days",
        f"the newest, {MOST_SCENARIOS} at most",
    ):
        assert words in PAGE
