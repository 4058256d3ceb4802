"""What agents send: read, resolved within the key's cluster, stored in one transaction."""

from monitoring.agents.batch import Body, Unreadable, body_read
from monitoring.agents.known import KeyEnded
from monitoring.agents.limits import Limits, limits_get
from monitoring.agents.processes import processes_forget
from monitoring.agents.receive import Outcome, batch_receive

__all__ = ["Body", "KeyEnded", "Limits", "Outcome", "Unreadable", "batch_receive", "body_read", "limits_get", "processes_forget"]
