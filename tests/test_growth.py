"""The benchmark of growth fits the exponents that its table and figure state."""

import pytest

from benchmarks import growth


def points(exponent):
    return [
        growth.Point(way="pairs", steps=steps, seconds=1e-6 * steps**exponent, mib=8.0)
        for steps in (64, 256, 1024)
    ]


@pytest.mark.parametrize("exponent", [1.0, 2.0])
def test_the_exponent_is_that_of_the_times_without_the_shortest(exponent):
    shortest = growth.Point(way="pairs", steps=16, seconds=9.0, mib=8.0)
    fitted = growth.exponent([shortest, *points(exponent)], "seconds")
    assert fitted == pytest.approx(exponent)
    assert growth.exponent([shortest, *points(exponent)], "mib") == pytest.approx(0)


def test_the_figure_is_drawn_and_the_table_has_a_row_for_each_way(tmp_path):
    every = [point._replace(way=way) for way in growth.WAYS for point in points(1.5)]
    growth.draw(every, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 10_000
    rows = growth.table(every).splitlines()[2:]
    assert len(rows) == len(growth.WAYS)
    assert "all pairs" in rows[1] and "| 1.50 |" in rows[1]
