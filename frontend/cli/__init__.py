"""Runs the `kvmesh` command."""
