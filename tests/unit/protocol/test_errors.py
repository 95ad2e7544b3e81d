"""The error tree and its one table."""

from protocol import errors
from protocol.error_answers import HTTP
from protocol.errors import EngineFault, InvalidRequest, MeshError, error_from_code


def _leaves(kind: type[MeshError]) -> set[type[MeshError]]:
    return {kind}.union(*(_leaves(child) for child in kind.__subclasses__()))


def test_every_error_of_the_tree_has_its_row_and_its_own_code() -> None:
    tree = {leaf for leaf in _leaves(MeshError) if leaf.__module__ == errors.__name__} - {MeshError}
    assert tree == set(HTTP)
    assert len({leaf.code for leaf in tree}) == len(tree)


def test_statuses_are_errors_and_types_are_words() -> None:
    assert all(400 <= status < 600 and kind for status, kind in HTTP.values())


def test_a_code_on_the_wire_becomes_its_error_again() -> None:
    error = error_from_code("invalid_value", "top_p is wrong", "top_p")
    assert (type(error), error.message, error.param) == (InvalidRequest, "top_p is wrong", "top_p")
    assert type(error_from_code("added_in_a_later_version", "")) is EngineFault
