"""Whose a process is: /proc/PID -> start time, container, pod, Slurm job, systemd unit, and the model its server was told to serve.

Facts and patterns: docs/agent.md. A command line is read for the flags that name the model and never leaves this file.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

POD = re.compile(r"pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})")  # static pods: 32 hex
CONTAINER = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
JOB = re.compile(r"/job_(\d+)")
UNIT = re.compile(r"/([^/]+\.service)(?=/|$)", re.MULTILINE)
MODEL_FLAGS = (
    "--served-model-name",
    "--alias",
    "--model-id",
    "--model-name",
    "--model_name",
    "--model",
    "--model-path",
    "-m",
)  # a name before a path
MODEL_NAME = re.compile(r"[\w.:@+-]+(?:/[\w.:@+-]+)?")
HUB_FOLDER = re.compile(r"models--([\w.-]+?)--([\w.-]+)")  # how the hub's cache names a model
INTERPRETER = re.compile(r"^python[\d.]*$")
PARENTS_MOST = 8
SETTLED_SECONDS = 600.0  # a younger process may not have its final parents or arguments yet


@dataclass(frozen=True)
class Workload:
    """What surrounds one process; empty where there is none."""

    started_at: float  # Unix seconds
    name: str = ""
    container_id: str = ""
    pod_uid: str = ""
    job: str = ""
    unit: str = ""
    model_name: str = ""


@dataclass
class Workloads:
    """Looks below `root`, remembering each (pid, start): process numbers are used again."""

    root: Path = Path("/proc")
    ticks_per_second: float = field(default_factory=lambda: float(os.sysconf("SC_CLK_TCK")))
    known: dict[tuple[int, float], Workload] = field(default_factory=dict)
    booted_at: float | None = None

    def of(self, pid: int, *, now: float) -> Workload | None:
        """None for a process that ended, or that this process may not see (another PID namespace)."""
        started_at = self.started_at(pid)
        if started_at is None:
            return None
        found = self.known.get((pid, started_at))
        if found is None or (not found.model_name and now - started_at < SETTLED_SECONDS):
            found = self.known[pid, started_at] = self.look(pid, started_at)
        return found

    def forget_but(self, seen: set[tuple[int, float]]) -> None:
        self.known = {key: workload for key, workload in self.known.items() if key in seen}

    def look(self, pid: int, started_at: float) -> Workload:
        place = place_of(self.text(pid, "cgroup"))
        return Workload(started_at, self.text(pid, "comm").strip()[:120], *place, model_name=self.model_name(pid, container=place[0]))

    def started_at(self, pid: int) -> float | None:
        if self.booted_at is None:
            boot = re.search(r"^btime (\d+)", self.read(self.root / "stat"), flags=re.MULTILINE)
            self.booted_at = float(boot.group(1)) if boot else None
        words = self.stat_words(pid)
        if self.booted_at is None or len(words) < 20:
            return None
        return self.booted_at + float(words[19]) / self.ticks_per_second

    def stat_words(self, pid: int) -> list[str]:
        """The fields of /proc/PID/stat from the third on; the second, the name, may hold spaces and brackets."""
        return self.text(pid, "stat").rpartition(")")[2].split()

    def model_name(self, pid: int, *, container: str) -> str:
        """Of the process or the nearest parent that names one: workers that hold the GPU rarely do."""
        for ancestor in self.ancestors(pid):
            if ancestor != pid and place_of(self.text(ancestor, "cgroup"))[0] != container:
                return ""
            name = model_in(self.text(ancestor, "cmdline").rstrip("\0").split("\0"))
            if name:
                return name
        return ""

    def ancestors(self, pid: int) -> Iterator[int]:
        for _ in range(PARENTS_MOST):
            if pid < 1:
                return
            yield pid
            words = self.stat_words(pid)
            pid = int(words[1]) if len(words) > 1 else 0

    def text(self, pid: int, name: str) -> str:
        return self.read(self.root / str(pid) / name)

    def read(self, path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""


def place_of(cgroup: str) -> tuple[str, str, str, str]:
    """(container id, pod uid, Slurm job, systemd unit) of /proc/PID/cgroup, version 1 or 2.

    A unit counts outside containers only: inside, it is the one that runs the container engine.
    """
    paths = "\n".join(line.split(":", 2)[2] for line in cgroup.splitlines() if line.count(":") >= 2)
    pod, containers, job = POD.search(paths), CONTAINER.findall(paths), JOB.search(paths)
    pod_uid = pod.group(1).replace("_", "-") if pod else ""
    container_id = containers[-1] if containers else ""
    units = [unit for unit in UNIT.findall(paths) if not unit.startswith("user@")]
    unit = units[-1][:120] if units and not (pod_uid or container_id or job) else ""
    return container_id, pod_uid, job.group(1)[:40] if job else "", unit


def model_in(arguments: Sequence[str]) -> str:
    """The model's name in a server's arguments, or ""; of a path only its last part, of an address nothing but that."""
    own = own_arguments(arguments)
    if own[:1] == ["serve"] and len(own) > 1 and not own[1].startswith("-"):  # vllm serve MODEL
        own = [*own, "--model", own[1]]
    given: dict[str, str] = {}
    for word, following in zip(own, [*own[1:], ""], strict=False):
        flag, equals, value = word.partition("=")
        if flag in MODEL_FLAGS:
            given.setdefault(flag, value if equals else following)
    names = (name_of(given[flag]) for flag in MODEL_FLAGS if flag in given)
    return next((name for name in names if name), "")


def own_arguments(arguments: Sequence[str]) -> list[str]:
    """Without the program and, for Python, without its own options: `python -m module` names no model."""
    program, *rest = [*arguments, ""][: max(1, len(arguments))]
    if INTERPRETER.match(program.rpartition("/")[2]):
        while rest and rest[0].startswith("-") and rest[0] != "-m":
            rest = rest[1:]
        rest = rest[2:] if rest[:1] == ["-m"] else rest[1:]
    return rest


def name_of(value: str) -> str:
    hub = HUB_FOLDER.search(value)
    if hub:
        value = f"{hub.group(1)}/{hub.group(2)}"
    elif value.startswith(("/", ".", "~")) or "://" in value or value.count("/") > 1:
        value = value.rstrip("/").rpartition("/")[2]
    value = value.removesuffix(".gguf")
    return value if MODEL_NAME.fullmatch(value) and not value.startswith("-") and len(value) <= 253 else ""
