"""Requests name models and adapters, which are looked up here among those that are served."""

import asyncio

from frontend.api.fields.diffusion import DiffusionFields, routing_of
from frontend.api.fields.nvext import NvExt, wishes
from frontend.api.fields.sampling import priority_of
from frontend.api.fields.schemas import ChatCompletionRequest, CompletionRequest
from frontend.api.fields.text_diffusion import refuse_of_diffusion
from frontend.api.fields.vectors import VectorFields
from frontend.fleet.hopes import may_be_back
from frontend.fleet.model_entry import ModelEntry
from frontend.fleet.registry import Registry
from frontend.http.exchange import Exchange
from frontend.models.served import ServedModel
from frontend.models.services import GENERATION, VECTORS, use_of
from protocol.errors import InvalidRequest, ModelNotFound, NoWorker
from protocol.membership import Service


class NamedModels:
    """NamedModels finds the models and adapters that requests name among those that are served."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def of(
        self, exchange: Exchange, request: ChatCompletionRequest | CompletionRequest | VectorFields
    ) -> ModelEntry:
        """Returns the entry of the model that a request names; of several generations one with the
        adapter and the worker that it wishes.

        Raises:
            MeshError: as `named`, or a header's value is not one.
            UnsupportedParameter: the request asks for what this model cannot do.
        """
        nvext, service = (
            (None, VECTORS) if isinstance(request, VectorFields) else (request.nvext, GENERATION)
        )
        wished = wishes(nvext, exchange.routing_headers).worker_id
        entry = self.named(
            request.model,
            service,
            priority=priority_of(request.priority),
            worker_id=wished,
            lora_path=request.lora_path,
        )
        diffusion = entry.served.card.text_diffusion
        if diffusion is not None and not isinstance(request, VectorFields):
            refuse_of_diffusion(request, diffusion)
        return entry

    def making(
        self, exchange: Exchange, request: DiffusionFields, service: Service
    ) -> tuple[ModelEntry, NvExt, str | None]:
        """Returns the entry of the model that is to make something, the only one of the service if
        the request names none, what is asked of the router, and the adapter, if it is one's.

        Raises:
            MeshError: as `named`, or a header's value is not one.
        """
        exchange.model = request.model or self.only(service)
        asked = routing_of(request, exchange)
        entry = self.named(
            exchange.model,
            service,
            priority=priority_of(request.priority),
            worker_id=asked.worker_id,
            lora_path=request.lora_path,
        )
        return entry, asked, self.adapter(exchange.model, request.lora_path, entry)

    def named(
        self,
        name: str,
        service: Service = GENERATION,
        *,
        priority: int = 0,
        worker_id: str | None = None,
        lora_path: str | None = None,
    ) -> ModelEntry:
        """Returns the entry of the model of that name, which must be served as `service`.

        Raises:
            ModelNotFound: never heard of it.
            NoWorker: it is known but nobody serves it now, or no worker has come yet at all.
            InvalidRequest: it is served, but for something else.
            Overloaded: so many wait for it that nothing need be done to know the answer.
        """
        registry = self._registry
        entry = registry.entry(name, worker_id, lora_path)
        if entry is not None and (
            entry.ready or may_be_back(registry, entry, asyncio.get_running_loop().time())
        ):
            if entry.service != service:
                raise InvalidRequest(
                    f"The model {name!r} {use_of(entry.service).does}.", param="model"
                )
            entry.queue.turn_away(priority)
            return entry
        if entry is not None or not registry.available():
            missing = "worker" if entry is None else entry.missing
            raise NoWorker(
                f"No {missing} serves the model {name!r} at the moment. Please retry shortly."
            )
        raise ModelNotFound(
            f"The model {name!r} does not exist or is not served here.", param="model"
        )

    def serving(self) -> list[ModelEntry]:
        """Returns the entries of the models that have workers for a whole request now."""
        return [entry for entry in self._registry.available() if entry.ready]

    def only(self, service: Service = GENERATION) -> str:
        """Returns the name of the one model that is served as `service` here, for requests that
        need not name it.

        Raises:
            NoWorker: there is none.
            InvalidRequest: there are several.
        """
        names = [
            entry.served.card.name
            for entry in self._registry.available()
            if entry.service == service
        ]
        if len(names) > 1:
            raise InvalidRequest(
                "Several such models are served here; name one of them in the field model.",
                param="model",
            )
        if not names:
            raise NoWorker("No worker serves such a model at the moment. Please retry shortly.")
        return names[0]

    def adapter(self, model: str, lora_path: str | None, entry: ModelEntry) -> str | None:
        """Returns the name of the LoRA adapter that a request asks for, by the model's name or by
        lora_path; None for the model itself.

        Raises:
            ModelNotFound: no worker of the model has it.
            InvalidRequest: two are asked for.
        """
        if lora_path is None and model == entry.served.card.name:
            return None  # as nearly always
        found, named = self._registry.find(model)
        if found is None:  # it was unloaded while the prompt was made
            raise ModelNotFound(
                f"The LoRA adapter {model!r} is not loaded here any more.", param="model"
            )
        if lora_path is None:
            return named
        if named not in (None, lora_path):
            raise InvalidRequest(
                f"model asks for the adapter {named!r}, and lora_path for another.",
                param="lora_path",
            )
        if lora_path not in entry.adapters:
            raise ModelNotFound(
                f"The LoRA adapter {lora_path!r} does not exist or is not loaded here.",
                param="lora_path",
            )
        return lora_path

    def served(self, name: str) -> ServedModel:
        """Returns the served model of that name, whatever it is served for and however many wait
        for it.

        Raises:
            ModelNotFound, NoWorker: as `named`.
        """
        entry = self._registry.entry(name)
        return entry.served if entry is not None and entry.ready else self.named(name).served
