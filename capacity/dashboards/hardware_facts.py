"""Beside the charts of an accelerator and a node: its agent, processes, placements, what cannot be read, and Xid errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from capacity.dashboards.agent_rows import AgentRow, agent_rows, capabilities_seen
from capacity.dashboards.capability_words import Refusal, refusals
from capacity.dashboards.hardware import short_model
from capacity.dashboards.pages import Page, seconds_utc
from capacity.dashboards.status import headroom_version
from capacity.dashboards.words import figure
from monitoring.access import Actor, agents_for, placements_for, processes_for
from monitoring.models import Accelerator, AcceleratorProcess, Agent, AgentGap, Event, EventKind, Node, Placement
from monitoring.series import Lines

PROCESSES_MOST, GAPS_MOST, XIDS_MOST, INCIDENTS_READ = 100, 20, 20, 200
XID_COLUMN = "xid_code"
GONE = timedelta(minutes=3)  # a process that was not in the last snapshots
METHODS = {
    "process_utilization": "estimated",  # the driver samples who is busy; the sum may pass what the GPU was busy
    "memory": "by memory only",
    "": "not known",
}
XIDS = {  # number -> what it usually is; the driver's own list says more
    13: "fault in a kernel",
    31: "page fault: usually the program's",
    43: "a program was stopped",
    45: "a program was ended, often after another error",
    48: "uncorrectable memory error",
    61: "internal error of the board's controller",
    62: "internal error of the board's controller",
    63: "a memory row was set aside",
    64: "a memory row could not be set aside",
    74: "NVLink error",
    79: "the GPU fell off the bus",
    92: "many corrected memory errors",
    94: "contained memory error",
    95: "uncontained memory error",
    119: "the GPU's system processor does not answer",
    120: "error of the GPU's system processor",
}
HOST_WORDS = (  # key of the agent's host facts -> words of the page, unit
    ("kernel", "Kernel", ""),
    ("os", "System", ""),
    ("driver_version", "Driver", ""),
    ("cuda_version", "CUDA of the driver", ""),
    ("cpus", "CPUs", "plain"),
    ("memory_bytes", "Memory", "bytes"),
    ("no_driver", "No GPU is read", ""),
)
GPU_WORDS = (  # name of the agent's fact about a GPU -> words of the page, unit
    ("sm_clock_most_hertz", "Highest SM clock", "hertz"),
    ("sm_clock_boost_hertz", "Boost clock allowed", "hertz"),
    ("memory_clock_most_hertz", "Highest memory clock", "hertz"),
    ("ecc_uncorrected_lifetime_errors", "ECC errors, ever", "plain"),
    ("rows_remapped_corrected", "Memory rows set aside, corrected", "plain"),
    ("rows_remapped_uncorrected", "Memory rows set aside, uncorrected", "plain"),
    ("rows_remapping_pending", "Memory rows to be set aside at the next reset", "plain"),
    ("rows_remapping_failed", "Memory rows that could not be set aside", "plain"),
)


def accelerator_name(row: Accelerator) -> str:
    place = "" if row.position is None else f" {row.position}"
    return f"{row.mig_profile or short_model(row.model_name)}{place}"


# --- The agent -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AgentCard:
    """The agent of a node as its page shows it."""

    row: AgentRow
    facts: Sequence[tuple[str, str]]  # of the host
    own: Sequence[tuple[str, str]]  # of the one accelerator the page is about
    gaps: Sequence[AgentGap]
    refusals: Sequence[Refusal]

    @property
    def agent(self) -> Agent:
        return self.row.agent


def agent_card(actor: Actor, node: Node | None, accelerators: Sequence[Accelerator], *, page: Page) -> AgentCard | None:
    """Of the node, with what its calls do not give on `accelerators`. At most five queries."""
    found = agent_rows(agents_for(actor).filter(node=node), now=page.now, server_version=headroom_version()) if node else []
    if not found:
        return None
    [row] = found
    table = capabilities_seen(actor, [row.agent]).get(row.agent.pk, {})
    names = {each.uuid: accelerator_name(each) for each in accelerators}
    host: Mapping[str, object] = agents_for(actor).values_list("host", flat=True).get(pk=row.agent.pk)
    gaps = row.agent.gaps.filter(end_at__gt=page.range.start, start_at__lt=page.range.end)
    shown = {uuid: calls for uuid, calls in table.items() if uuid in names}
    own = words_of(gpu_facts(host, accelerators[0].uuid), GPU_WORDS) if len(accelerators) == 1 else []
    return AgentCard(row, words_of(host, HOST_WORDS), own, list(gaps[:GAPS_MOST]), refusals(shown, names))


def gpu_facts(host: Mapping[str, object], uuid: str) -> dict[str, object]:
    """The agent tells facts of a GPU among those of the host, as "UUID name"."""
    return {key.removeprefix(f"{uuid} "): value for key, value in host.items() if key.startswith(f"{uuid} ")}


def words_of(facts: Mapping[str, object], words: Sequence[tuple[str, str, str]]) -> list[tuple[str, str]]:
    found = []
    for key, label, unit in words:
        value = facts.get(key)
        if isinstance(value, int | float) and unit:
            found.append((label, f"{value:,.0f}" if unit == "plain" else str(figure(float(value), unit))))
        elif isinstance(value, str) and value:
            found.append((label, value[:120]))
    return found


def gap_spans(card: AgentCard | None) -> list[tuple[float, float]]:
    """Stretches whose readings were dropped, for the plots."""
    return [(gap.start_at.timestamp(), gap.end_at.timestamp()) for gap in card.gaps] if card else []


# --- Processes -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProcessRow:
    process: AcceleratorProcess
    place: str  # the accelerator's name, where the page is of a node
    running: bool

    @property
    def where(self) -> list[tuple[str, str]]:
        """(what, which): the container, pod, unit and job it belongs to."""
        own = self.process
        parts = [("unit", own.unit), ("job", own.job), ("container", own.container_id[:12]), ("pod", own.pod_uid)]
        return [(what, which) for what, which in parts if which]

    @property
    def method(self) -> str:
        return METHODS.get(self.process.share_method, self.process.share_method)


@dataclass(frozen=True)
class Processes:
    rows: Sequence[ProcessRow]
    hidden: int  # of accelerators that are not wholly the reader's

    @property
    def running(self) -> int:
        return sum(row.running for row in self.rows)

    @property
    def estimated(self) -> bool:
        return any(row.process.sm_ratio is not None for row in self.rows)


def processes_load(actor: Actor, accelerators: Sequence[Accelerator], *, page: Page) -> Processes:
    """Those seen in the range, running ones first. Two queries."""
    names = {each.pk: accelerator_name(each) for each in accelerators}
    seen = {"accelerator__in": list(names), "last_seen_at__gte": page.range.start, "started_at__lt": page.range.end}
    found = list(processes_for(actor, now=page.now).filter(**seen).order_by("-last_seen_at", "accelerator", "pid")[:PROCESSES_MOST])
    total = AcceleratorProcess.objects.filter(**seen).count() if len(found) < PROCESSES_MOST else len(found)
    rows = [ProcessRow(each, names[each.accelerator_id], page.now - each.last_seen_at <= GONE) for each in found]
    rows.sort(key=lambda row: (not row.running, row.place, -(row.process.memory_bytes or 0)))
    return Processes(rows, total - len(found))


# --- Placements, Xid errors ----------------------------------------------------------------------------------------------


def placements_load(actor: Actor, accelerator: Accelerator, *, at: datetime) -> list[Placement]:
    """The own placements at an instant, largest first."""
    rows = placements_for(actor).filter(accelerator=accelerator, valid_from__lte=at).exclude(valid_to__lte=at)
    return list(rows.select_related("replica__deployment").order_by("-share", "replica__name")[:PROCESSES_MOST])


@dataclass(frozen=True)
class Incident:
    """An Xid error of a GPU, or the time in which it was lost."""

    at: datetime
    title: str
    words: str
    place: str
    end_at: datetime | None = None


def incidents_load(accelerators: Sequence[Accelerator], lines: Lines | None, *, page: Page) -> list[Incident]:
    """What agents told as it happened, newest first; of one accelerator also the errors that only its column shows. One query."""
    names = {each.uuid: accelerator_name(each) for each in accelerators}
    nodes = {each.node_id for each in accelerators}
    inside = {"at__gte": page.range.start, "at__lt": page.range.end, "detail__node_id__in": list(nodes)}
    told = Event.objects.filter(deployment=None, kind=EventKind.INCIDENT, **inside).order_by("-at")[:INCIDENTS_READ]
    found = [incident_of(event, names[event.detail["accelerator"]]) for event in told if event.detail.get("accelerator") in names]
    seen = {event.detail.get("code") for event in told}
    if lines is not None:
        found += [incident for code, incident in xids_of(lines) if code not in seen]
    return sorted(found, key=lambda incident: incident.at, reverse=True)[:XIDS_MOST]


def incident_of(event: Event, place: str) -> Incident:
    code = event.detail.get("code")
    if isinstance(code, int):
        return Incident(event.at, f"Xid {code}", xid_words(code), place)
    return Incident(event.at, "Lost", str(event.detail.get("lost", ""))[:200], place, event.end_at)


def xid_words(code: int) -> str:
    return XIDS.get(code, "see the driver's list of Xid errors")


def xids_of(lines: Lines) -> list[tuple[int, Incident]]:
    """When the last-Xid column changed to another error: a code stays there until the next one."""
    line = lines.columns.get(XID_COLUMN)
    if line is None:
        return []
    known = np.flatnonzero(np.isfinite(line.high))
    codes = np.rint(line.high[known]).astype(int)
    changed = [i for i in range(codes.size) if codes[i] > 0 and (i == 0 or codes[i] != codes[i - 1])]
    moments = [(int(codes[i]), seconds_utc(float(line.times[known[i]]))) for i in changed[-XIDS_MOST:]]
    return [(code, Incident(at, f"Xid {code}", xid_words(code), "")) for code, at in moments]
