"""Puts a quick load on a running server and tells how fast it answers: `kvmesh bench`."""
