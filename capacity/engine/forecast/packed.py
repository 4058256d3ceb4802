"""What a night's fit learned as bytes, to be kept and read again by the hours: arrays as npz, the rest as JSON. Nothing in it is code."""

import json
from dataclasses import asdict
from io import BytesIO
from typing import Any
from zipfile import BadZipFile

import numpy as np

from capacity.engine.forecast.bands import Bands
from capacity.engine.forecast.nightly import Fitted
from capacity.engine.forecast.records import Actuals, Backtest, Shift
from capacity.engine.forecast.scale import Scale
from capacity.engine.forecast.spread import Spread
from capacity.engine.grid import Floats

FORMAT = 1  # another number whenever a field of Fitted comes, goes or changes its meaning
NARROWER = (np.float16, np.float32)
PLAIN = ("step_seconds", "horizon", "trained_from_seconds", "trained_until_seconds", "method", "lowest", "highest", "cap", "thin")
SPREAD, PATHS = ("usual", "weights", "floors", "tops"), ("times", "actual", "median", "lower", "upper")


def fitted_pack(fitted: Fitted) -> bytes:
    """Bytes from which `fitted_unpack` makes the same Fitted again, to the last bit; 40 to 100 kB."""
    backtest = {name: value for name, value in vars(fitted.backtest).items() if name != "actuals"}
    facts = {
        "format": FORMAT,
        **{name: getattr(fitted, name) for name in PLAIN},
        "centre": fitted.scale.centre,
        "shifts": [asdict(shift) for shift in fitted.shifts],
        "widening": fitted.bands.widening,
        "record_share": fitted.bands.record_share,
        "backtest": backtest,
    }
    arrays = {"learned": fitted.learned, "table": fitted.bands.table}
    arrays |= {f"spread_{name}": getattr(fitted.spread, name) for name in SPREAD}
    arrays |= {f"actuals_{name}": getattr(fitted.backtest.actuals, name) for name in PATHS}
    packed = BytesIO()
    text = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
    stored: dict[str, Any] = {name: narrowed(values) for name, values in arrays.items()}
    np.savez_compressed(packed, facts=text, **stored)
    return packed.getvalue()


def fitted_unpack(packed: bytes) -> Fitted | None:
    """None for bytes of another format, or broken ones: fit again."""
    try:
        with np.load(BytesIO(packed), allow_pickle=False) as stored:
            facts = json.loads(stored["facts"].tobytes())
            if facts["format"] != FORMAT:
                return None
            return unpacked(facts, {name: stored[name].astype(np.float64) for name in stored.files if name != "facts"})
    except (BadZipFile, EOFError, KeyError, OSError, TypeError, ValueError):
        return None


def unpacked(facts: dict[str, Any], arrays: dict[str, Floats]) -> Fitted:
    backtest = dict(facts["backtest"])
    errors = tuple((str(name), float(error)) for name, error in backtest.pop("method_errors"))
    actuals = Actuals(*(arrays[f"actuals_{name}"] for name in PATHS))
    return Fitted(
        **{name: facts[name] for name in PLAIN},
        scale=Scale(facts["centre"]),
        shifts=tuple(Shift(**shift) for shift in facts["shifts"]),
        learned=arrays["learned"],
        spread=Spread(*(arrays[f"spread_{name}"] for name in SPREAD)),
        bands=Bands(arrays["table"], facts["widening"], facts["record_share"]),
        backtest=Backtest(**backtest, method_errors=errors, actuals=actuals),
    )


def narrowed(values: Floats) -> np.ndarray:
    """The same values in the narrowest type that holds each of them exactly."""
    with np.errstate(over="ignore"):
        for kind in NARROWER:
            short = values.astype(kind)
            if np.array_equal(short.astype(np.float64), values, equal_nan=True):
                return short
    return values
