"""A frontend written by hand that has pictures and videos made, and fetches them."""

import secrets
from collections.abc import Iterator
from typing import Any

from protocol.diffusion import (
    AskJobs,
    Diffuse,
    Diffused,
    FetchOutput,
    Job,
    JobsTold,
    Output,
    OutputChunk,
    Progress,
)
from protocol.replies import Delta, StepBatch
from tests.fault.mesh_peer import FrontendPeer

FAR_UNIX_MS = 4_000_000_000_000


class MediaPeer(FrontendPeer):
    """Accepts one worker that makes pictures or videos."""

    def order(self, prompt: str = "a lighthouse", **fields: Any) -> str:
        """Ask for something; returns the request's id."""
        request_id = fields.pop("request_id", secrets.token_hex(16))
        deadline = fields.pop("deadline_unix_ms", FAR_UNIX_MS)
        self.send(Diffuse(request_id, "sim-images", prompt, deadline, **fields))
        return request_id

    def made(self, request_id: str) -> list[Output]:
        """What came of it."""
        end = self.end_of(request_id).end
        assert isinstance(end, Diffused), end
        return end.outputs

    def fetch(self, output_id: str, chunk_bytes: int = 256 * 1024) -> bytes | None:
        """All of an output; None if there is none."""
        data = b""
        while True:
            chunk = self.chunk(output_id, len(data), chunk_bytes)
            if chunk.output is None:
                return None
            data += chunk.data
            if len(data) >= chunk.output.size_bytes:
                return data

    def chunk(self, output_id: str, offset: int = 0, size: int = 256 * 1024) -> OutputChunk:
        """A piece of an output."""
        query_id = secrets.token_hex(16)
        self.send(FetchOutput(query_id, output_id, offset, size))
        return self.wait_for(OutputChunk, lambda chunk: chunk.query_id == query_id)

    def jobs(self, job_id: str = "", *, forget: bool = False) -> list[Job]:
        """What the worker knows of its jobs."""
        query_id = secrets.token_hex(16)
        self.send(AskJobs(query_id, job_id, forget))
        return self.wait_for(JobsTold, lambda told: told.query_id == query_id).jobs

    def job_until(self, job_id: str, status: str) -> Job:
        """The job, once it has that status."""
        while True:
            [job] = self.jobs(job_id)
            if job.status == status:
                return job
            assert job.status in ("queued", "in_progress"), job

    def progress(self, request_id: str) -> Progress:
        """The next that is told of how far it is."""

        def told(batch: StepBatch) -> bool:
            return any(map(of_it, batch.deltas))

        def of_it(delta: Delta) -> bool:
            return delta.request_id == request_id and _progress(delta) is not None

        batch = self.wait_for(StepBatch, told)
        found = _progress(next(filter(of_it, batch.deltas)))
        assert found is not None
        return found

    def all_progress(self, request_id: str) -> Iterator[Progress]:
        """All that was told so far."""
        for message in self.heard:
            if isinstance(message, StepBatch):
                for delta in message.deltas:
                    found = _progress(delta)
                    if delta.request_id == request_id and found is not None:
                        yield found


def _progress(delta: Delta) -> Progress | None:
    return None if delta.extras is None else delta.extras.progress
