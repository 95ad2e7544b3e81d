"""Rows: more requests than the fleet can serve."""

from bench.faults.row import Row

ROWS: list[Row] = []
