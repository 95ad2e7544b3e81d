"""Measures kvmesh beside other systems, on the same load in the same run."""
