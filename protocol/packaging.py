"""Guard against other distributions that install packages under our plain names.

`frontend`, `workers` and `protocol` exist on the package index; installing one of them over ours replaces files without a
warning. Both processes call this at start, and a test does.
"""

from importlib.metadata import packages_distributions

PACKAGES = ("protocol", "kv_events", "frontend", "workers")


def foreign_owners() -> list[str]:
    """Complaints, one a line, about packages of ours that another distribution claims too; empty is right."""
    owners = packages_distributions()
    return [
        f"the package {package!r} also belongs to {', '.join(others)}: uninstall it"
        for package in PACKAGES
        if (others := sorted(set(owners.get(package, ())) - {"kvmesh"}))
    ]
