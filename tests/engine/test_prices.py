"""What an hour costs, shared out: hand-worked cases."""

from decimal import Decimal

import pytest

from capacity.engine.prices import accelerator_rate, mig_ratio, rate_round, rate_sum


@pytest.mark.parametrize(
    ("profile", "slices", "ratio"),
    [
        ("1g.10gb", 7, Decimal(1) / 7),
        ("2g.20gb", 7, Decimal(2) / 7),
        ("MIG 3g.40gb", 7, Decimal(3) / 7),
        ("7g.80gb", 7, Decimal(1)),
        ("1g.10gb+me", 7, Decimal(1) / 7),
        ("4g.96gb", 4, Decimal(1)),
        ("7g.80gb", 4, None),
        ("half", 7, None),
        ("", 7, None),
    ],
)
def test_a_slice_is_its_part_of_the_gpu(profile: str, slices: int, ratio: Decimal | None) -> None:
    assert mig_ratio(profile, slices=slices) == ratio


def test_slices_side_by_side_never_cost_more_than_the_gpu() -> None:
    for profiles in (["1g.10gb"] * 7, ["2g.20gb"] * 3, ["3g.40gb"] * 2, ["4g.40gb", "3g.40gb"], ["1g.20gb"] * 4):
        assert sum((mig_ratio(profile) or 0) for profile in profiles) <= Decimal("1.000000000000000000000000001")


def test_accelerators_share_the_price_of_their_node() -> None:
    assert accelerator_rate(Decimal("55.04"), accelerators=8) == Decimal("6.88")
    assert accelerator_rate(Decimal("55.04"), accelerators=8, ratio=Decimal("0.5")) == Decimal("3.44")
    with pytest.raises(ValueError, match="at least 1 accelerator, got 0"):
        accelerator_rate(Decimal(1), accelerators=0)


def test_a_sum_is_exact_where_floats_are_not() -> None:
    assert rate_sum([(Decimal("0.1"), 1.0)] * 3) == Decimal("0.3")
    assert rate_sum([(Decimal("6.88"), 0.5), (Decimal("6.88"), 0.25)]) == Decimal("5.16")
    assert rate_sum([]) == 0


def test_it_is_rounded_to_a_millionth_once() -> None:
    assert rate_round(Decimal(1) / 3) == Decimal("0.333333")
