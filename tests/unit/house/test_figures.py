"""Figures are told once: docs/figures.md is what bench.figures makes of bench/results."""

from bench.figures.page import PAGE, page


def test_the_page_of_figures_is_what_the_results_make() -> None:
    assert PAGE.read_text() == page(), "run python -m bench.figures"
