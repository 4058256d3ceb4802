"""What the yardstick's benches ask of the product: its own engine, nothing else."""

from bench.adapters.forecasts import forecast

NAME = "headroom"

__all__ = ["NAME", "forecast"]
