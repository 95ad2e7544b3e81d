"""Runs kvmesh's router over a simulated fleet on a virtual clock: `python -m bench.routing`."""
