"""A follower is a node that runs some ranks of an engine whose requests another node takes.

Of any kind: its engine is made as that of the node that leads it.
"""

from workers.kinds.arguments import Arguments
from workers.kinds.kind import WorkerKind


def follows(arguments: Arguments) -> bool:
    """Tells whether SGLang's --node-rank says that another node leads."""
    rank = arguments.told("--node-rank")
    return rank.isdecimal() and int(rank) > 0


def follower_of(leader: WorkerKind) -> WorkerKind:
    """Returns the kind of a node that follows one of the leader's kind."""
    return WorkerKind(name="follower", chosen_by=follows, engines=leader.engines, serving=None)
