"""CPU seconds of whole process families, from /proc."""

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def parents() -> dict[int, int]:
    out = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            out[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
    return out


def family(root: int) -> list[int]:
    """A process and all below it."""
    above = parents()
    found, grown = {root}, True
    while grown:
        more = {pid for pid, parent in above.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return sorted(found)


def cpu_seconds(*roots: int) -> float:
    """What these families have used, children that ended and were waited for included."""
    total = 0
    for pid in {pid for root in roots for pid in family(root)}:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(int(ticks) for ticks in fields[11:15])
    return total / TICKS
