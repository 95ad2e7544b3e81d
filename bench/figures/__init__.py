"""Reads every figure that kvmesh tells of itself from bench/results, and writes it down once."""
