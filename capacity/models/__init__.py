"""What `capacity` concludes and decides."""

from capacity.models.demo import DemoAction, DemoRun, DemoState
from capacity.models.slo import SloLedger
from capacity.models.status import DeploymentStatus, Verdict

__all__ = ["DemoAction", "DemoRun", "DemoState", "DeploymentStatus", "SloLedger", "Verdict"]
