"""What the night learned, as bytes and back: the same forecast to the last bit."""

import json
from dataclasses import fields
from io import BytesIO

import numpy as np
import pytest

from capacity.engine.forecast import Event, Fitted, Forecast, condition, fit, fitted_pack, fitted_unpack, packed
from capacity.engine.grid import Floats
from tests.engine.test_forecast import DAY, HOUR, START, cycle

LAUNCH = Event("launch", START + 29 * DAY, START + 30 * DAY, factor=3.0)


def fitted_of(values: Floats, *, horizon: int = 24, step: float = HOUR) -> Fitted:
    found = fit(values, start_seconds=START, step_seconds=step, horizon=horizon)
    assert isinstance(found, Fitted), found
    return found


def shifted(days: int) -> Floats:
    return cycle(days, seed=4) * np.where(np.arange(days * 24) < 18 * 24, 1.0, 4.0)


def gappy(days: int) -> Floats:
    return np.where(np.random.default_rng(6).random(days * 24) < 0.2, np.nan, cycle(days, seed=6))


CASES = {
    "a day ahead": (cycle(28, seed=1), 24, HOUR),
    "a week ahead": (cycle(28, seed=2), 168, HOUR),
    "two hours ahead": (cycle(7, seed=3, per_day=288), 24, 300.0),
    "a level shift": (shifted(28), 24, HOUR),
    "thin": (cycle(7, seed=5), 168, HOUR),
    "gaps": (gappy(28), 24, HOUR),
    "zeros": (np.zeros(28 * 24), 24, HOUR),
}


@pytest.mark.parametrize("name", CASES)
def test_a_forecast_of_what_was_packed_is_the_same_to_the_last_bit(name: str) -> None:
    values, horizon, step = CASES[name]
    fitted = fitted_of(values, horizon=horizon, step=step)
    again = fitted_unpack(fitted_pack(fitted))
    assert again is not None
    newer = np.r_[values, values[: int(6 * HOUR / step)] * 1.2]
    before, after = (condition(one, newer, start_seconds=START, events=[LAUNCH]) for one in (fitted, again))
    assert isinstance(before, Forecast) and isinstance(after, Forecast)
    np.testing.assert_array_equal(before.quantiles, after.quantiles)
    assert (before.method, before.flags, before.note) == (after.method, after.flags, after.note)
    assert (before.trained_from_seconds, before.trained_until_seconds) == (after.trained_from_seconds, after.trained_until_seconds)


@pytest.mark.parametrize("name", CASES)
def test_the_backtest_comes_back_whole(name: str) -> None:
    values, horizon, step = CASES[name]
    fitted = fitted_of(values, horizon=horizon, step=step)
    again = fitted_unpack(fitted_pack(fitted))
    assert again is not None
    before, after = fitted.backtest, again.backtest
    for field in fields(before.actuals):
        np.testing.assert_array_equal(getattr(before.actuals, field.name), getattr(after.actuals, field.name))
    for score in ("origins", "mase", "weighted_loss", "coverage_90", "above_99"):
        np.testing.assert_equal(getattr(after, score), getattr(before, score))
    assert before.method_errors == after.method_errors


def test_no_field_of_a_fit_is_forgotten() -> None:
    """A field that comes is packed, and the format's number is raised."""
    held = {*packed.PLAIN, "scale", "shifts", "learned", "spread", "bands", "backtest"}
    assert {field.name for field in fields(Fitted)} == held


def test_it_takes_less_than_100_kilobytes() -> None:
    assert len(fitted_pack(fitted_of(cycle(56, seed=1), horizon=168))) < 100_000


def test_bytes_of_another_format_are_no_fit() -> None:
    with np.load(BytesIO(fitted_pack(fitted_of(cycle(28, seed=1))))) as stored:
        arrays = dict(stored)
    facts = json.loads(arrays.pop("facts").tobytes()) | {"format": packed.FORMAT + 1}
    other = BytesIO()
    np.savez_compressed(other, facts=np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8), **arrays)
    assert fitted_unpack(other.getvalue()) is None


@pytest.mark.parametrize(
    "broken", [b"", b"nothing of ours", fitted_pack(fitted_of(cycle(28, seed=1)))[:5000]], ids=["empty", "other", "cut"]
)
def test_broken_bytes_are_no_fit(broken: bytes) -> None:
    assert fitted_unpack(broken) is None


def test_nothing_is_unpickled() -> None:
    """An array of objects would run code when it is read."""
    evil = BytesIO()
    np.savez(evil, facts=np.array([{"format": packed.FORMAT}], dtype=object))
    assert fitted_unpack(evil.getvalue()) is None
