"""Looks at a host, and says what would keep kvmesh from running well there: `kvmesh doctor`."""
