"""What the yardstick's benches ask of the product: its own engine, nothing else."""

from bench.adapters.forecasts import forecast
from bench.adapters.plans import floor, plan
from bench.adapters.sizes import size

NAME = "headroom"

__all__ = ["NAME", "floor", "forecast", "plan", "size"]
