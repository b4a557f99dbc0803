"""Tables and the figure of what pretrainings of different lengths lead to."""

from __future__ import annotations

import pytest

from palimpsest.lab.runs.tables import bases_table, growth_lines
from palimpsest.report.lab import growth_drawing

TABLE = [
    {"pretrain.n_steps": n_steps, "seed": seed, "alpha_base": alpha}
    for n_steps, seed, alpha in ((100, 1, 0.1), (100, 2, 0.3), (8000, 1, 0.5), (8000, 2, 0.48))
]


def test_a_measure_is_a_line_of_means_over_the_steps() -> None:
    [line] = growth_lines(TABLE, {"alpha_base": "α̂"})
    assert line.name == "α̂"
    assert [point.x for point in line.points] == [100, 8000]
    assert [point.mean for point in line.points] == pytest.approx([0.2, 0.49])


def test_the_figure_has_a_panel_for_each_heading_and_says_its_figures() -> None:
    lines = growth_lines(TABLE, {"alpha_base": "α̂"})
    drawing = growth_drawing("curve", "Growth", "steps", {"One": lines, "Two": lines})
    assert drawing.alternative.startswith("α̂ 100: 0.200; α̂ 8000: 0.490")
    for width in (3.0, 7.0):
        panels = drawing.figure(width).axes
        assert [axes.get_title(loc="left") for axes in panels] == ["One", "Two"]
        assert all(axes.get_xscale() == "log" for axes in panels)


def test_the_table_of_bases_says_of_each_whether_it_has_converged() -> None:
    row = {
        "seed": 31,
        "n_pretrained": 1500,
        "share_of_mixture": 0.0123,
        "alpha_base": 0.49,
        "alpha_base_low": 0.47,
        "alpha_base_high": 0.51,
        "g_hat_discrete": 0.7,
        "g_hat_mixture": 0.8,
        "is_converged": 1.0,
        "nearest_minus_farthest_odds": 0.1,
        "nearest_minus_farthest_odds_low": 0.05,
        "nearest_minus_farthest_odds_high": 0.15,
        "recovery_scaling": None,
    }
    *_, first, second = bases_table([row, {**row, "seed": 32, "is_converged": 0.0}]).splitlines()
    base = "| 31 | 1500 | 1.23 % | 0.490 [0.470, 0.510] | 0.70 (0.80) | yes |"
    assert first == f"{base} 0.100 [0.050, 0.150] | – |"
    assert "| no |" in second
