"""What an hour costs, shared out: a node's price over its accelerators, a GPU's over its slices. Money is Decimal, never a float sum."""

import re
from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Decimal

MIG_PROFILE = re.compile(r"([1-9])g\.")
SLICES = 7  # compute slices of a GPU that can be cut, from A100 on
MICRO = Decimal("0.000001")


def mig_ratio(profile: str, *, slices: int = SLICES) -> Decimal | None:
    """The part of a GPU a MIG slice is, by compute slices: 2g.20gb of an A100 is 2/7. None: this is no profile of such a GPU.

    By compute and not by memory, so that slices standing side by side never add up to more than the GPU (4g + 3g = 7/7).
    Source: NVIDIA MIG user guide, supported profiles.
    """
    found = MIG_PROFILE.match(profile.removeprefix("MIG "))
    if found is None or int(found[1]) > slices:
        return None
    return Decimal(int(found[1])) / slices


def accelerator_rate(node_rate: Decimal, *, accelerators: int, ratio: Decimal = Decimal(1)) -> Decimal:
    """An hour of one of a node's accelerators, which share the node's price evenly; `ratio` for a slice of it."""
    if accelerators < 1:
        raise ValueError(f"a node's price is shared by at least 1 accelerator, got {accelerators}")
    return node_rate * ratio / accelerators


def rate_sum(parts: Iterable[tuple[Decimal, float]]) -> Decimal:
    """An hour of what holds a share (over 0 to 1) of several things."""
    return sum((rate * Decimal(str(share)) for rate, share in parts), Decimal(0))


def rate_round(rate: Decimal) -> Decimal:
    """To a millionth, as prices are stored."""
    return rate.quantize(MICRO, rounding=ROUND_HALF_EVEN)
