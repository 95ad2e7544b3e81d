"""Every figure that kvmesh tells of itself, read from bench/results and written down once."""
