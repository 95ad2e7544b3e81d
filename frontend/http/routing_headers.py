"""Lists the headers by which a client may say where its request is to run."""

from typing import Final

HEADER_FIELDS: Final = {
    b"x-worker-instance-id": "backend_instance_id",
    b"x-dynamo-worker-instance-id": "backend_instance_id",
    b"x-dp-rank": "dp_rank",
    b"x-dynamo-dp-rank": "dp_rank",
    b"x-data-parallel-rank": "dp_rank",
    b"x-prefill-instance-id": "prefill_worker_id",
    b"x-decode-instance-id": "decode_worker_id",
    b"x-prefill-dp-rank": "prefill_dp_rank",
    b"x-dynamo-session-id": "session_id",
}
"""Maps a header to the field of `nvext` that it stands for; a header wins over the body."""
