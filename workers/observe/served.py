"""What a worker serves is named in the labels of its metrics."""

from dataclasses import dataclass

from protocol.membership import Capacity, Hello, Stage


@dataclass(frozen=True, kw_only=True)
class Served:
    """A Served is what a worker turned out to serve. Never changed, so that threads may share it.

    Attributes:
        model: name of the model, without its adapters.
        endpoint: dyn://namespace.component.endpoint.
        loaded_s: seconds that the engine took to start.
        embeds: it makes vectors.
        stage: which part of a request's work it does.
    """

    model: str
    endpoint: str
    capacity: Capacity
    loaded_s: float
    embeds: bool
    stage: Stage

    def labels(self, worker_id: str) -> dict[str, str]:
        """Returns the labels that the reference product gives what a worker counts."""
        namespace, component, endpoint = self.endpoint.removeprefix("dyn://").split(".")
        return {
            "dynamo_namespace": namespace,
            "dynamo_component": component,
            "dynamo_endpoint": endpoint,
            "worker_id": worker_id,
            "model": self.model,
        }

    @property
    def component_labels(self) -> dict[str, str]:
        """Returns the labels that the reference product gives what it knows of an engine."""
        return {
            "model": self.model,
            "dynamo_component": self.endpoint.removeprefix("dyn://").split(".")[1],
        }


def served_by(hello: Hello, loaded_s: float) -> Served:
    """Returns what a worker serves that introduces itself so.

    Args:
        loaded_s: seconds that its engine took to start.
    """
    return Served(
        model=hello.card.name,
        endpoint=hello.endpoint,
        capacity=hello.capacity,
        loaded_s=loaded_s,
        embeds=bool(hello.card.embedding_dimensions),
        stage=hello.stage,
    )
