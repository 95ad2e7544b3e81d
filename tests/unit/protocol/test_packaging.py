"""The four plain package names are ours alone."""

from protocol.packaging import foreign_owners


def test_no_other_distribution_installs_our_packages() -> None:
    assert foreign_owners() == []
