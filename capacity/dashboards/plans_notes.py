"""What the small i beside a question says: the meaning in two sentences, and the section of docs/plans.md with formula and source."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    title: str
    text: str
    section: str  # heading of docs/plans.md


NOTES: dict[str, Note] = {
    "demand": Note(
        "Demand against capacity",
        "Each point is the busiest hour of a day (UTC). Capacity is the rate at which the replicas keep the SLO. It runs out on the first "
        "day on which the median of demand, with the planned events, lies above it; p90 is the same for the 90 % quantile.",
        "Demand",
    ),
    "run_out": Note(
        "Run-out and order date",
        "The order date is the early (p90) run-out date less lead time and approval.",
        "Run-out",
    ),
    "curve": Note(
        "Latency by replicas",
        "The deployment's own arrivals, scaled so that their busiest hour is the forecast peak, go through a queue of so many replicas. "
        "Needed is the smallest number that keeps the latency percentile of the SLO in the promised share of minutes.",
        "Replicas against latency",
    ),
    "scenarios": Note(
        "Scenarios",
        "Each is the same forecast and the same past with other assumptions. Minutes lost are those until the end of the horizon.",
        "Assumptions",
    ),
    "backtest": Note(
        "Backtest",
        "Each policy runs through the same past days: what really ran, a fixed peak, a plain HPA at 70 %, this plan, and one that knows "
        "the day before it comes. A minute is lost when more requests than the percentile allows come late. Whole days only: what "
        "breaks today counts from tomorrow on.",
        "What it would have done",
    ),
    "floor": Note(
        "Floor by hour",
        "The least replicas the autoscaler may go down to, from the forecast's upper quantile of each hour and the time a start takes.",
        "Floor and autoscaler",
    ),
    "autoscaler": Note(
        "Autoscaler",
        "The target is requests running in one replica, so that the autoscaler acts before the SLO breaks. KEDA carries the floor by hour; "
        "an HPA has one floor.",
        "Floor and autoscaler",
    ),
    "risk": Note(
        "Doing nothing",
        "SLO minutes lost with what runs now until the end of the horizon, from the curve at each day's expected load; in minutes and not "
        "in money, as nobody is asked yet what a minute is worth.",
        "Doing nothing",
    ),
    "what_if": Note(
        "What if",
        "Computed now from the same inputs, stored nowhere until you save it. The address carries every assumption.",
        "Assumptions",
    ),
    "error": Note(
        "Forecast error",
        "Mean absolute error of the busiest hours in the backtest over their mean; naive is the same hour a week before.",
        "Demand",
    ),
}
