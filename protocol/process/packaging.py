"""Guards against other distributions that install packages under our plain names.

`frontend`, `workers` and `protocol` exist on the package index; installing one of them over ours
replaces files without a warning. Both processes look at start; a test asks the installer's records
too, which takes longer.
"""

from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

from protocol.process.start_error import StartError

VERSION = "0.1.0"
"""Is the version that pyproject.toml says; a checkout that was never installed has no other place
to read it from.
"""

PACKAGES = ("protocol", "kv_events", "frontend", "workers")


def require_own_packages() -> None:
    """Checks that the four packages lie side by side, as our distribution installs them.

    Raises:
        StartError: one of them is missing or comes from elsewhere.
    """
    home = Path(__file__).resolve().parents[2]
    for package in PACKAGES:
        spec = find_spec(package)
        origin = (
            Path(spec.origin).resolve().parents[1]
            if spec is not None and spec.origin is not None
            else None
        )
        if origin != home:
            raise StartError(
                f"the package {package!r} does not belong to kvmesh here: another "
                "distribution took its name"
            )


def foreign_owners() -> list[str]:
    """Returns complaints, one a line, about packages of ours that another distribution claims too;
    an empty list is right.
    """
    owners = packages_distributions()
    return [
        f"the package {package!r} also belongs to {', '.join(others)}: uninstall it"
        for package in PACKAGES
        if (others := sorted(set(owners.get(package, ())) - {"kvmesh"}))
    ]
