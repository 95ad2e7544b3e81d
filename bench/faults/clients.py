"""Rows: clients that ask for poison, leave, or do not read."""

from bench.faults.row import Row

ROWS: list[Row] = []
