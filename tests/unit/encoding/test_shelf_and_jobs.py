"""What is kept of encodings stays within its bound; pictures wait in order, each once."""

from hypothesis import given
from hypothesis import strategies as st

from protocol.encoding import Encode
from protocol.media import Encoding
from tests.unit.encoding.encoder_bench import named, picture
from workers.encoding.jobs import Jobs
from workers.encoding.orders import Order
from workers.encoding.shelf import ENTRY_BYTES, Shelf

BOUND = 4 * ENTRY_BYTES


def encoding(size: int) -> Encoding:
    return Encoding("vectors", (1, 1, 1), 1, data=bytes(size))


def order(number: int, *digests: int, priority: int = 0) -> Order:
    return Order(Encode(named(number), "m", [*map(picture, digests)], 0, priority=priority))


@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "find"]), st.integers(0, 6), st.integers(0, 2 * BOUND))
    )
)
def test_a_shelf_keeps_within_its_bound_what_was_used_last(
    steps: list[tuple[str, int, int]],
) -> None:
    shelf = Shelf(BOUND)
    used: dict[int, int] = {}  # in the order of use
    for step, digest, size in steps:
        if step == "put":
            shelf.put(digest, encoding(size))
            used.pop(digest, None)
            if size + ENTRY_BYTES <= BOUND:
                used[digest] = size
            while sum(used.values()) + ENTRY_BYTES * len(used) > BOUND:
                del used[next(iter(used))]
        else:
            found = shelf.find(digest)
            assert (None if found is None else len(found.data)) == used.get(digest)
            if found is not None:
                used[digest] = used.pop(digest)
        assert len(shelf) == len(used)
        assert shelf.size_bytes == sum(used.values()) + ENTRY_BYTES * len(used) <= BOUND


def test_a_picture_that_several_want_is_encoded_once_for_all() -> None:
    jobs, first, second = Jobs(), order(1, 7, 8), order(2, 8, 9)
    jobs.batch_max = 2
    assert [jobs.add(picture(7), first), jobs.add(picture(8), first)] == [True, True]
    assert [jobs.add(picture(8), second), jobs.add(picture(9), second)] == [False, True]
    assert [(job.picture.digest, job.orders) for job in jobs.begin()] == [
        (7, [first]),
        (8, [first, second]),
    ]
    assert not jobs.add(picture(8), third := order(3, 8))  # it is being encoded
    assert jobs.batch[1].orders == [first, second, third]
    assert jobs.orders() == [second]


def test_urgent_pictures_come_first_and_equal_ones_in_order() -> None:
    jobs = Jobs()
    jobs.batch_max = 8
    for number, (digest, priority) in enumerate([(1, 0), (2, 5), (3, 0), (4, -1), (5, 5)]):
        jobs.add(picture(digest), order(number, digest, priority=priority))
    jobs.add(picture(4), order(9, 4, priority=9))
    assert [job.picture.digest for job in jobs.begin()] == [4, 2, 5, 1, 3]


def test_who_leaves_takes_along_what_nobody_else_wants() -> None:
    jobs, first, second = Jobs(), order(1, 1, 2), order(2, 2)
    for each in (first, second):
        for wanted in each.request.media:
            jobs.add(picture(wanted.digest), each)
    jobs.leave(first)
    assert [(job.picture.digest, job.orders) for job in jobs.waiting] == [(2, [second])]
    jobs.leave(first)
    jobs.leave(second)
    assert not jobs.waiting
    assert not jobs.begin()
