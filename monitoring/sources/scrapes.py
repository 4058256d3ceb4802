"""How often each system of a source is scraped, and what follows for the windows of rate()."""

import math
from collections.abc import Collection, Iterable, Mapping

from monitoring.catalog.records import System
from monitoring.prometheus import Prometheus
from monitoring.sources.layout import is_joined

USUAL_SECONDS = 30.0  # where it cannot be measured: too few samples yet
UNEVEN = 0.1


def scrapes_measure(
    client: Prometheus, *, systems: Iterable[System], names: Collection[str], moments: Collection[float]
) -> dict[str, float]:
    """The longest scrape interval of each system at these moments; what cannot be measured is left out."""
    out = {}
    for system in systems:
        name = next(name for name in system.detect if name in names)
        found = [client.scrape_interval(name, at=at) for at in moments]
        known = [one for one in found if one is not None]
        if known:
            out[system.slug] = max(known)
    return out


def own_scrapes(scrapes: Mapping[str, float], *, systems: Iterable[System]) -> list[float]:
    """The intervals of what is measured itself; joined systems may be slower, and only count where they are alone."""
    present = [system for system in systems if system.slug in scrapes]
    own = [system for system in present if not is_joined(system)] or present
    return [scrapes[system.slug] for system in own]


def rate_window(step_seconds: float, *, scrape_seconds: float) -> float:
    """Seconds of rate() so that each increment counts once.

    A window one scrape longer than the step holds samples that span the step exactly: a second scrape would count
    the increments at the edges twice and the others less, which no mean over an hour makes good. Only where a step
    has less than two scrapes is the second needed, or one missed sample would leave a window without a rate.
    """
    return step_seconds + (1 if holds_two(step_seconds, scrape_seconds=scrape_seconds) else 2) * scrape_seconds


def rate_windows(step_seconds: float, *, scrapes: Mapping[str, float], systems: Iterable[System]) -> dict[str, float]:
    return {
        system.slug: rate_window(step_seconds, scrape_seconds=scrapes.get(system.slug, min(USUAL_SECONDS, step_seconds)))
        for system in systems
    }


def gained_systems(step_seconds: float, *, scrapes: Mapping[str, float]) -> list[str]:
    """Systems scraped so often that each step has a sample also where one is late: their counters can be subtracted."""
    return [slug for slug, scrape in scrapes.items() if holds_two(step_seconds, scrape_seconds=scrape)]


def holds_two(step_seconds: float, *, scrape_seconds: float) -> bool:
    return step_seconds >= 2 * scrape_seconds


def is_uneven(step_seconds: float, *, scrape_seconds: float) -> bool:
    """Whether one rate() a step would weigh increments unlike: their spread over their mean.

    Of 2.5 scrapes in a step a window holds now two increments, now three, and those in company weigh a third less: an hour
    comes out up to 1 % wrong. With many scrapes in a step, or a whole number, it does not matter.
    """
    held = step_seconds / scrape_seconds
    over = held % 1.0
    return held < 2.0 or math.sqrt(over * (1.0 - over)) / held > UNEVEN
