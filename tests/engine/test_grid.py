"""Hand-worked cases of the arithmetic on grids; runs without Django."""

import numpy as np

from capacity.engine.grid import phase_means, phase_medians, recent_medians, row_medians, row_quantiles, same_phase, smooth_phase

NAN = float("nan")


def test_row_medians_leave_gaps_out() -> None:
    rows = np.array([[3.0, 1.0, 2.0], [NAN, 4.0, 2.0], [NAN, NAN, 5.0], [NAN, NAN, NAN]])
    np.testing.assert_array_equal(row_medians(rows), [2.0, 3.0, 5.0, NAN])


def test_phase_medians_look_back_only() -> None:
    np.testing.assert_array_equal(phase_medians(np.array([1.0, 10.0, 3.0, 30.0, 2.0, 20.0]), period=2, depth=3), [1, 10, 2, 20, 2, 20])


def test_phase_means_decay_and_start_right() -> None:
    np.testing.assert_allclose(phase_means(np.array([4.0, 8.0, NAN, 2.0]), period=1, weight=0.5), [4.0, 20 / 3, 20 / 3, 36 / 11])


def test_same_phase_takes_the_last_known_step_of_the_phase() -> None:
    values = np.arange(10.0)
    found = same_phase(values, origins=np.array([6, 2]), leads=np.arange(5), period=4)
    np.testing.assert_array_equal(found, [[2, 3, 4, 5, 2], [NAN, NAN, 0, 1, NAN]])


def test_smoothing_reads_nothing_the_origin_does_not_know() -> None:
    values = np.arange(40.0)
    changed = values.copy()
    changed[20:] = 1e9
    first, second = (smooth_phase(v, origins=np.array([20]), leads=np.arange(9), period=4, radius=2) for v in (values, changed))
    np.testing.assert_array_equal(first, second)


def test_recent_medians_end_before_the_origin() -> None:
    np.testing.assert_array_equal(recent_medians(np.array([1.0, 5.0, 9.0, 99.0]), origins=np.array([3, 1]), length=3), [5.0, 1.0])


def test_row_quantiles_weigh_their_atoms() -> None:
    values = np.array([[1.0, 2.0, 3.0, NAN], [5.0, 7.0, 9.0, 9.0]])
    weights = np.array([[1.0, 1.0, 2.0, 9.0], [1.0, 0.0, 0.0, 0.0]])
    found = row_quantiles(values, weights=weights, levels=np.array([0.125, 0.375, 0.75]))
    np.testing.assert_allclose(found, [[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
