"""The forecasts that past midnights would have had, for a replay that knows no more than they did."""

from capacity.analysis.plan_telemetry import Hours
from capacity.engine.answer import NoAnswer
from capacity.engine.forecast import condition, fit
from capacity.engine.grid import DAY_SECONDS, HOUR_SECONDS
from capacity.engine.sizing.opinions import Bands


def past_bands(hours: Hours, *, end: float, days: int) -> tuple[Bands | None, ...]:
    """A forecast for each replayed day, learned once before the first of them and told only what came before its own midnight."""
    first = round((end - days * DAY_SECONDS - hours.start) / HOUR_SECONDS)
    if first < 24:
        return ()
    fitted = fit(hours.values[:first], start_seconds=hours.start, step_seconds=HOUR_SECONDS, horizon=24)
    if isinstance(fitted, NoAnswer):
        return ()
    found: list[Bands | None] = []
    for day in range(days):
        known = hours.values[: first + 24 * day]
        said = condition(fitted, known, start_seconds=hours.start)
        found.append(None if isinstance(said, NoAnswer) else Bands(said.levels, said.quantiles))
    return tuple(found)
