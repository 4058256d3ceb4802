"""The plan of a group or a cluster in plain words."""

from collections.abc import Sequence
from typing import Protocol

from capacity.analysis.plan_records import Assumption, RunOut
from capacity.analysis.plan_sized import Times
from capacity.analysis.plan_stock import ModelStock
from capacity.analysis.plan_texts import date_words, days_words, order_words
from capacity.analysis.plan_words import time_rows
from capacity.engine.sizing.runout import DailyDemand, RunOutDates, Supply


class Planned(Protocol):
    """What is told of a model of accelerators."""

    @property
    def stock(self) -> ModelStock: ...
    @property
    def demand(self) -> DailyDemand: ...
    @property
    def supply(self) -> Supply: ...
    @property
    def dates(self) -> RunOutDates: ...


def group_headline(model: str, *, out: RunOut, days: float, now: float) -> str:
    if out.early_time is None:
        return f"Accelerators hold for {days_words(days)}; {model} is the fullest."
    day = out.median_time if out.median_time is not None else out.early_time
    when = "now" if day <= now else f"on {date_words(day, now=now)}"
    words = f"{model} {'runs' if out.median_time is not None else 'may run'} out {when}."
    if not out.replicas_to_order or out.order_time is None:
        return words
    return f"{words} {order_words(f'{out.replicas_to_order} {model}', out.order_time, now=now)}"


def out_words(stock: ModelStock, *, dates: RunOutDates, now: float) -> str:
    bound = "Quantiles of the members are added, an upper bound: the date is the earliest that may be."
    if dates.early_time is None:
        return "What its members need stays below what is there, even if all have their high days (90 %) together."
    if dates.median_time is None:
        return f"Only if all members have their high days (90 %) together, from {date_words(dates.early_time, now=now)} on. {bound}"
    already = " already" if dates.median_time <= now else ""
    return f"Its members need more {stock.model} than there are, on {date_words(dates.median_time, now=now)}{already}. {bound}"


def group_assumptions(plans: Sequence[Planned], *, names: Sequence[str], times: Times) -> tuple[Assumption, ...]:
    """A row for each model of accelerators, then who is in it."""
    rows = [model_row(plan) for plan in plans]
    rows.append(Assumption("members", "Members", ", ".join(names), f"{len(names)}"))
    return (*rows, *time_rows(times))


def model_row(plan: Planned) -> Assumption:
    peak, there = float(plan.demand.at(0.9).max()), float(plan.supply.replicas[-1])
    early = plan.dates.early_time
    detail = f"{there:g} there at the end of the horizon: {plan.stock.sentence}"
    detail = detail if early is None else f"{detail} May run out on {date_words(early)}."
    return Assumption("supply", plan.stock.model, detail, f"{peak:g} needed")
