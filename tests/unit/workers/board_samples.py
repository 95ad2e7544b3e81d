"""What a board tells of a worker that serves, and of a rank that answers."""

from workers.health.rank_watch import RankState
from workers.system.board import WorkerState

SERVING = WorkerState(phase="serving", frontends_connected=1)
RANK = RankState(
    silence_s=1.5,
    complaint="",
    unfinished=2,
    ok=7,
    timeout=1,
    failed=0,
    latency_s_last=0.25,
    latency_s_sum=2.0,
)
