"""Workers that make pictures and videos, told by a frontend that is written by hand."""

import io

from PIL import Image

from protocol.membership import Hello
from tests.fault.media_peer import MediaPeer
from tests.kit.fleet import Fleet

PICTURES = ("--image-diffusion-worker", "--sim-step-ms", "1")
VIDEOS = ("--video-generation-worker", "--sim-step-ms", "1")


def test_pictures_are_made_and_fetched_in_pieces(fleet: Fleet) -> None:
    with MediaPeer(fleet.mesh) as peer:
        fleet.worker(*PICTURES)
        hello = peer.wait_for(Hello)
        assert (hello.service, hello.card.name) == ("images", "sim-images")
        outputs = peer.made(peer.order(count=2, seed=3, width=96, height=64))
        assert [(each.width, each.height, each.seed) for each in outputs] == [
            (96, 64, 3),
            (96, 64, 4),
        ]
        first, second = (peer.fetch(each.output_id, 1_000) for each in outputs)
        assert first
        assert second
        assert first != second
        assert len(first) == outputs[0].size_bytes
        with Image.open(io.BytesIO(first)) as picture:
            assert (picture.format, picture.size) == ("PNG", (96, 64))
        again = peer.made(peer.order(seed=4, width=96, height=64))
        assert peer.fetch(again[0].output_id) == second
        assert peer.fetch("0" * 48) is None
