"""The picture of a bench of methods: names that can be read, intervals that are drawn, scales that waste no room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from reportlab.graphics.shapes import Group, Line, Shape, String

from console.domain.bench_results import Axis, Baseline, Cost, Interval, MethodLine, MethodsBench, SetRows
from console.errors import InputError
from console.reports.fonts import register_fonts
from console.reports.scatter import Point, _Box, check_plot_file, placed, scatter

PLOT = _Box(0, 0, 600, 380)
COST = Cost(erase_seconds=10.0, erase_peak_mb=100, measure_seconds=5.0, measure_peak_mb=50)


def line(name: str, forgetting: float, utility: float, spread: float | None = None) -> MethodLine:
    wide = None if spread is None else Interval(low=utility - spread, high=utility + spread)
    return MethodLine(
        name=name,
        method=name,
        settings={},
        status="done",
        cost=COST,
        forgetting=forgetting,
        utility=utility,
        utility_interval=wide,
    )


def bench(*lines: MethodLine) -> MethodsBench:
    return MethodsBench(
        on="office",
        model="m",
        settings={},
        sets={"forget": SetRows(measured=6, available=6)},
        forgetting=Axis(title="Forgetting", acceptable=0.95, why="the bench's limit"),
        utility=Axis(title="Utility", acceptable=0.95, why="the rules' threshold"),
        baselines=(Baseline(name="taught", title="holds the data", forgetting=0.8, utility=1.0, measures={}),),
        lines=lines,
    )


def shapes(group: Group) -> Iterator[Shape]:
    for shape in group.contents:
        yield shape
        if isinstance(shape, Group):
            yield from shapes(shape)


def words(result: MethodsBench) -> list[str]:
    return [shape.text for shape in shapes(scatter(result)) if isinstance(shape, String)]


@pytest.fixture(autouse=True)
def _fonts() -> None:
    register_fonts()


def test_no_name_covers_another_or_a_point() -> None:
    plot = _Box(0, 0, 600, 400)
    points = [Point(f"method-{number}", 300 + number % 4, 200 + number // 8) for number in range(24)]
    labels = placed(points, plot)
    assert len(labels) == 24
    for number, label in enumerate(labels):
        assert label.box.within(plot)
        assert not any(label.box.meets(other.box) for other in labels[number + 1 :])
        assert not any(label.box.holds(point.x, point.y) for point in points)
    # As long as there is room, no line leads through another name either.
    few = placed(points[::3], plot)
    assert len(few) == 8 and all(label.clear_of(few[:number]) for number, label in enumerate(few))


def test_a_name_moves_off_a_pale_line_but_not_far() -> None:
    point = Point("method", 300, 200)
    pale = _Box(100, 199, 500, 201)
    (on_it,), (beside,) = placed([point], PLOT), placed([point], PLOT, pale=[pale])
    assert on_it.box.meets(pale) and not beside.box.meets(pale) and beside.gap < 24
    (covered,) = placed([point], PLOT, pale=[PLOT])
    assert covered == on_it, "with pale lines everywhere the nearest place is the best"


def test_an_interval_is_drawn_through_its_point() -> None:
    def level(result: MethodsBench) -> list[Line]:
        return [shape for shape in shapes(scatter(result)) if isinstance(shape, Line) and shape.strokeWidth == 1.2]

    assert level(bench(line("npo", 0.9, 0.9))) == []
    (drawn,) = level(bench(line("npo", 0.9, 0.9, 0.05)))
    assert drawn.y1 == drawn.y2 and drawn.x1 < drawn.x2


def test_the_scale_begins_near_the_worst_number() -> None:
    near = words(bench(line("npo", 0.98, 0.97)))
    assert "0.8" in near and "1" in near and "0" not in near
    assert "0" in words(bench(line("ssd", 0.02, 0.03)))


def test_a_result_that_other_rows_might_have_turned_says_so() -> None:
    said = words(bench(line("sure", 0.99, 1.0), line("unsure", 0.99, 0.97, 0.03), line("bad", 0.5, 0.97, 0.03)))
    assert "in the acceptable corner" in said and "in the acceptable corner (perhaps chance)" in said
    assert "too little forgetting" in said


def test_a_plot_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.svg or \.pdf"):
        check_plot_file(tmp_path / "plot.gif")
