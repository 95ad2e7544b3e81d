"""A process spawned by a worker runs this first on a CPU host (see `_prepare_spawned_children`)."""

from workers.sglang.cpu import activate_if_cpu_host

activate_if_cpu_host()
