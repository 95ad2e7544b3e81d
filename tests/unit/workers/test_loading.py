"""The notice that an engine is loading."""

import threading

import pytest
import zmq

from protocol.codec import decode_to_frontend
from protocol.membership import Loading
from protocol.process.start_error import StartError
from workers.mesh.loading import LoadingNotice


def test_a_frontend_hears_that_a_worker_is_loading() -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        port = router.bind_to_random_port("tcp://127.0.0.1")
        with LoadingNotice([f"tcp://127.0.0.1:{port}"], worker_id="w", model="m", key=None):
            assert router.poll(30_000)
            _, *frames = router.recv_multipart()
    notice = decode_to_frontend(frames)
    assert isinstance(notice, Loading)
    assert (notice.worker_id, notice.model) == ("w", "m")


@pytest.mark.parametrize("address", ["tcp://192.0.2.1:5550", "tcp://127.0.0.1:no-port"])
def test_an_address_that_cannot_be_dialled_is_an_error_before_the_engine_loads(
    address: str,
) -> None:
    threads = threading.active_count()
    with (
        pytest.raises(StartError, match=r"key|connect"),
        LoadingNotice(["tcp://127.0.0.1:1", address], worker_id="w", model="m", key=None),
    ):
        pytest.fail("the engine would load now")
    assert threading.active_count() == threads
