"""Holds what all measurements share: load, processes, workloads and plots."""
