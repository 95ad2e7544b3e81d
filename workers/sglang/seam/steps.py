"""SGLang's TokenizerManager and Engine are run by kvmesh with one delivery per engine step.

SGLang hands each request's output to an asyncio generator of its own: with 64 streams that is 64
tasks woken per step. Here the generator of a request of ours (`SteppedInput`) sleeps until the
request has ended, and its output is collected where SGLang would have queued it
(`ReqState.out_list`). Everything around that stays SGLang's: validation, request states and
duplicate ids, pause and weight-update locks, LoRA, metrics, request logs and dumps.
"""

import logging
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from sglang.srt.entrypoints import engine as sglang_engine
from sglang.srt.entrypoints.engine import Engine, init_tokenizer_manager
from sglang.srt.managers import tokenizer_manager
from sglang.srt.managers.io_struct import (
    BatchTokenIDOutput,
    HealthCheckOutput,
    sock_recv,
)
from sglang.srt.managers.multi_tokenizer_mixin import (
    _CannotSplitBatch,
    _handle_output_by_indices,
)
from sglang.srt.managers.tokenizer_manager import ReqState, TokenizerManager
from sglang.utils import TypeBasedDispatcher

from protocol.process.own_directory import process_directory
from protocol.replies import Delta
from workers.sglang.children import run_controller, run_scheduler
from workers.sglang.seam.arrivals import Arrivals
from workers.sglang.seam.media import bound_by_media, set_digests
from workers.sglang.seam.output import Output, SteppedInput, TextInput
from workers.sglang.seam.videos import MediaLoop, read_media_apart
from workers.sglang.sockets import meet_in

log = logging.getLogger(__name__)


class StepTokenizerManager(TokenizerManager):
    """A StepTokenizerManager is SGLang's TokenizerManager that delivers the outputs of
    `SteppedInput`s once per message of the engine.

    Attributes:
        on_busy: called when a busy scheduler has answered a canary instead of running it. The
        message does not say which.
        on_failure: called when nothing more will be received from the engine.
        diffuses: text is made by diffusion.
    """

    on_step: Callable[[Sequence[Delta]], None]
    on_busy: Callable[[], None]
    on_failure: Callable[[], None]
    moved: list[Output]
    media: MediaLoop
    diffuses: bool

    def init_request_dispatcher(self) -> None:
        super().init_request_dispatcher()
        ours = TypeBasedDispatcher([(HealthCheckOutput, self._note_busy)])
        ours += self._result_dispatcher  # adds what is not there yet
        self._result_dispatcher = ours

    def _note_busy(self, _: Any) -> None:
        try:
            self.on_busy()
        except Exception:
            log.exception("a canary's answer could not be taken")  # nor is that worth the engine

    async def handle_loop(self) -> None:
        """Runs SGLang's receive loop and tells of an exception in it, which SGLang would answer by
        killing this process before anyone can say why.
        """
        arrivals = self.recv_from_detokenizer = Arrivals(self.recv_from_detokenizer, sock_recv)
        try:
            await super().handle_loop()
        except Exception:
            log.exception("SGLang's receive loop failed")
            self.on_failure()
        finally:
            arrivals.close()

    @property
    def writes_prompts(self) -> bool:
        """Tells whether the requests that come are written down, as JSON: their ids must be in a
        list then, which takes longer to send.
        """
        # asked anew each time, since an operator may switch the log on and off
        return (
            self.request_logger.log_requests
            or self.request_metrics_exporter_manager.exporter_enabled()
        )

    def new_output(self, prompt_tokens: int) -> Output:
        return Output(self.moved, prompt_tokens)

    def _init_req_state(self, obj: Any, request: Any = None) -> None:
        super()._init_req_state(obj, request)
        if isinstance(obj, SteppedInput):
            state = self.rid_to_state[obj.rid]
            state.out_list = obj.output
            obj.output.state = state

    def _validate_one_request(self, obj: Any, input_ids: Any) -> None:
        if isinstance(obj, SteppedInput) and obj.grows:
            bound_by_media(obj, len(input_ids), self.context_len, self.max_req_input_len)
        super()._validate_one_request(obj, input_ids)

    def _create_tokenized_object(self, obj: Any, *arguments: Any, **named: Any) -> Any:
        tokenized = super()._create_tokenized_object(obj, *arguments, **named)
        if isinstance(obj, SteppedInput) and obj.digests:
            set_digests(tokenized.mm_inputs, obj.digests)
            if obj.encoded:
                obj.image_data = None  # megabytes, which would stay here until the last token
        if isinstance(obj, TextInput):
            tokenized.routed_dp_rank, tokenized.token_type_ids = (
                obj.routed_dp_rank,
                obj.token_type_ids,
            )
        return tokenized

    def _wait_one_response(self, obj: Any, request: Any = None) -> Any:
        if isinstance(obj, SteppedInput):
            return self._until_ended(obj)
        return super()._wait_one_response(obj, request)

    async def _until_ended(self, obj: SteppedInput) -> AsyncIterator[Any]:
        """Yields nothing; returns when the request has ended.

        Meanwhile `generate_request` holds the weight-update lock.
        """
        await obj.output.ended
        state = obj.output.state
        assert state is not None
        if not state.time_stats.response_sent_to_client_time:
            state.time_stats.set_response_sent_to_client_time()
        out = {"output_ids": state.output_ids, "meta_info": obj.output.meta_info}
        self.request_logger.log_finished_request(obj, out, request=None)
        if self.request_metrics_exporter_manager.exporter_enabled():
            await self.request_metrics_exporter_manager.write_record(obj, out)
        for nothing in ():
            yield nothing

    async def _handle_batch_output(self, recv_obj: Any) -> None:
        rest = recv_obj
        if isinstance(recv_obj, BatchTokenIDOutput):
            rest = self._take_plain(recv_obj)
        if rest is not None:
            await super()._handle_batch_output(rest)
        self._deliver_step()

    def _take_plain(self, step: Any) -> Any:
        """Takes what is nothing but more tokens of a request of ours; returns a step of all else,
        or None where there is nothing else.

        A request's first and last output, and all that is not ours, get SGLang's full treatment
        (timings, metadata, dumps, release), which costs some 20 µs per request and is not needed
        for a token in between. With hundreds of requests, some begin or end in every step.
        """
        plain: list[tuple[int, ReqState]] = []
        others: list[int] = []
        states = map(self.rid_to_state.get, step.rids)
        for index, (state, reason) in enumerate(zip(states, step.finished_reasons, strict=True)):
            if (
                reason is not None
                or state is None
                or type(state.out_list) is not Output
                or state.time_stats.first_token_time == 0.0
                or state.obj.return_logprob
            ):
                others.append(index)
            else:
                plain.append((index, state))
        rest = step if others else None
        if plain and others:
            try:
                rest = _handle_output_by_indices(step, others)
            except _CannotSplitBatch as error:
                log.warning("a step of the engine is taken whole: %s", error)
                return step
        for index, state in plain:
            state.output_ids.extend(step.output_ids[index])
            if state.obj.stream:
                self.moved.append(state.out_list)
            if self.enable_metrics:
                self._count(state, step, index)
        return rest

    def _count(self, state: ReqState, step: Any, index: int) -> None:
        try:
            self.collect_metrics(state, step, index)
        except Exception:
            log.exception("request %s could not be counted", state.obj.rid)

    def _handle_abort_req(self, recv_obj: Any) -> None:
        super()._handle_abort_req(recv_obj)
        self._deliver_step()

    def _deliver_step(self) -> None:
        if not self.moved:
            return
        deltas = [output.take_or_fail() for output in self.moved]
        for delta, output in zip(deltas, self.moved, strict=True):
            if delta.end is not None and not output.ended.done():
                if not output.state.finished:
                    self.abort_request(delta.request_id)
                    continue
                output.ended.set_result(None)
        self.moved.clear()
        try:
            self.on_step(deltas)
        except Exception:
            # An exception in the receive loop is the end of the engine; a bad delivery is not worth
            # that.
            log.exception("the outputs of an engine step could not be delivered")


def _init_step_tokenizer_manager(server_args: Any, port_args: Any) -> Any:
    # A scheduler that fails to start sends SIGQUIT, which SGLang answers by killing this process
    # before anyone can say why. The closed pipe of the scheduler is seen as well, a moment later,
    # as an exception.
    signal.signal(signal.SIGQUIT, _note_failed_start)
    manager, templates = init_tokenizer_manager(
        server_args, port_args, TokenizerManagerClass=StepTokenizerManager
    )
    manager.moved = []
    manager.media = MediaLoop()
    manager.diffuses = manager.config_value("dllm_algorithm") is not None
    if manager.mm_processor is not None:
        manager.media.serve(manager.mm_processor)
    return manager, templates


def _note_failed_start(_signum: int, _frame: Any) -> None:
    log.error("a process of SGLang failed to start; its own message is above")


class StepEngine(Engine):
    """A StepEngine is SGLang's Engine with a StepTokenizerManager, without a detokenizer, and with
    our way to start its processes, by the hooks that Engine has for them.
    """

    init_tokenizer_manager_func = staticmethod(_init_step_tokenizer_manager)
    run_scheduler_process_func = staticmethod(run_scheduler)

    def __init__(self, **named: Any) -> None:
        meet_in(process_directory())
        super().__init__(**named)

    @classmethod
    def _launch_detokenizer_subprocesses(cls, **_: Any) -> "tuple[list[Any], list[str]]":
        """Returns the processes that make text of ids, and their names: there are none
        (`workers.sglang.ids_alone`).
        """
        return [], []


# for which there are no hooks
sglang_engine.run_data_parallel_controller_process = run_controller
tokenizer_manager.async_sock_recv = Arrivals.next  # called with the manager's socket
read_media_apart()
