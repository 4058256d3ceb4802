"""An accelerator as the pages read it, and short words for hardware."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monitoring.access import Share
from monitoring.models import Accelerator

IDLE_RATIO = 0.05
BUSY = ("gr_engine_active_ratio", "gpu_utilization_ratio")  # the better counter first
MAKERS = ("NVIDIA", "TESLA", "AMD", "INSTINCT", "GEFORCE", "INTEL")


def short_model(name: str) -> str:
    """ "NVIDIA H100 80GB HBM3" -> "H100"."""
    words = [word for word in name.replace("-", " ").split() if word.upper() not in MAKERS]
    return words[0] if words else "accelerator"


def quotient(values: Mapping[str, float], used: str, total: str) -> float | None:
    top, bottom = values.get(used), values.get(total)
    return top / bottom if top is not None and bottom else None


def busy_of(values: Mapping[str, float]) -> float | None:
    return next((values[name] for name in BUSY if name in values), None)


@dataclass(frozen=True)
class Reading:
    """One accelerator with its means: of the last minutes by column, and how busy it was over the range."""

    accelerator: Accelerator
    live: Mapping[str, float]
    busy: float | None  # over the range
    shares: Sequence[Share]
    silent: bool

    @property
    def name(self) -> str:
        return self.accelerator.mig_profile or short_model(self.accelerator.model_name)

    @property
    def attributed(self) -> float:
        return min(sum(share.ratio for share in self.shares), 1.0)

    @property
    def rest(self) -> float | None:
        """The share nobody is known to use; None when it is all known."""
        rest = 1.0 - self.attributed
        return rest if rest > 0.005 else None

    @property
    def idle(self) -> bool:
        return self.busy is not None and self.busy < IDLE_RATIO

    @property
    def throttled(self) -> float:
        return max(self.live.get("throttle_power_ratio", 0.0), self.live.get("throttle_thermal_ratio", 0.0))

    @property
    def busy_now(self) -> float | None:
        return next((self.live[name] for name in BUSY if name in self.live), None)

    @property
    def memory(self) -> float | None:
        return quotient(self.live, "gpu_memory_used_bytes", "gpu_memory_total_bytes")

    @property
    def power(self) -> float | None:
        return quotient(self.live, "power_watts", "power_limit_watts")

    @property
    def heat(self) -> float | None:
        return self.live.get("temperature_celsius")
