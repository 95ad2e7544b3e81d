"""Names of requests, which nothing else may have."""

import os
from concurrent.futures import ThreadPoolExecutor

from frontend.http.request_id import RequestIds


def test_no_two_ids_are_alike_whichever_thread_asks() -> None:
    ids = RequestIds()
    with ThreadPoolExecutor(4) as threads:
        drawn = list(threads.map(lambda _: ids.new(), range(10_000)))
    assert len(set(drawn)) == len(drawn)
    assert {len(each) for each in drawn} == {32}
    assert set("".join(drawn)) == set("0123456789abcdef")


def test_a_fork_gives_out_others_than_its_parent() -> None:
    ids = RequestIds()
    ids.new()
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.write(writing, "".join(ids.new() for _ in range(100)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    told = os.read(reading, 3_200).decode()
    theirs = {told[at : at + 32] for at in range(0, len(told), 32)}
    assert len(theirs) == 100
    assert theirs.isdisjoint(ids.new() for _ in range(100))
