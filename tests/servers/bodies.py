"""Recorded and made-up exposition bodies as OpenMetrics history, so that a real Prometheus can be asked about them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from monitoring.prometheus.queries import escape

RECORDED = Path(__file__).resolve().parents[1] / "data" / "recorded"
SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)\s*$")


def body_lines(text: str, *, job: str, at: float) -> Iterator[str]:
    """The samples of one scrape at one time, with the labels a scrape would add."""
    for line in text.splitlines():
        found = SAMPLE.match(line) if not line.startswith("#") else None
        if found:
            own = (found["labels"] or "").rstrip(",")  # Java's client ends its labels with a comma
            labels = f'job="{job}",instance="{job}:80"' + (f",{own}" if own else "")
            yield f"{found['name']}{{{labels}}} {found['value']} {at:.0f}\n"


def recorded_history(name: str, *, end: float, step: float = 15.0, scrapes: int = 9) -> Iterator[str]:
    """The first body of a pair, then the second from the middle on: a counter that rises once by what was recorded."""
    first, second = ((RECORDED / f"{name}.{number}.txt").read_text() for number in (1, 2))
    for scrape in range(scrapes):
        text = first if scrape < scrapes // 2 else second
        yield from body_lines(text, job=name, at=end - step * (scrapes - 1 - scrape))


def label_text(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{escape(value)}"' for name, value in labels.items())


def counter_history(name: str, labels: Mapping[str, str], *, per_second: float, times: Sequence[float]) -> Iterator[str]:
    for at in times:
        yield f"{name}{{{label_text(labels)}}} {per_second * (at - times[0]):.9g} {at:.0f}\n"


def gauge_history(name: str, labels: Mapping[str, str], *, value: float, times: Sequence[float]) -> Iterator[str]:
    for at in times:
        yield f"{name}{{{label_text(labels)}}} {value:.9g} {at:.0f}\n"
