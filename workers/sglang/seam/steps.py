"""Where kvmesh reaches into SGLang 0.5.23, and the only file that does: one delivery per engine
step.

SGLang hands each request's output to an asyncio generator of its own: with 64 streams that is 64
tasks woken per step. Here the generator of a request of ours (`SteppedInput`) sleeps until the
request has ended, and its output is collected where SGLang would have queued it
(`ReqState.out_list`). Everything around that stays SGLang's: validation, request states and
duplicate ids, pause and weight-update locks, LoRA, metrics, request logs and dumps.

What is relied on, checked by `check_seam` at start and in tests/sglang/test_seam.py:
    TokenizerManager.generate_request      iterates what `_wait_one_response(obj, request)` returns,
    after the dispatch
    TokenizerManager._init_req_state       puts a ReqState into `rid_to_state`
    TokenizerManager._create_tokenized_object  makes of an EmbeddingReqInput what the scheduler
    gets: `routed_dp_rank`, `token_type_ids`
    TokenizerManager._handle_batch_output  appends to `state.out_list` what it has for a request,
    and sets `state.finished`;
                                           a message has `rids`, `output_ids` (new ones) and
                                           `finished_reasons`, in step
    TokenizerManager._handle_abort_req     the same for an abort in the waiting queue; repeats the
    last token id, but
                                           leaves `state.output_ids`, which is what is read here, as
                                           it was
    TokenizerManager.auto_create_handle_loop  starts `handle_loop`, registers signal handlers on the
    loop (captured, see
                                           `deferred_signals`), and starts `sigterm_watchdog`, which
                                           does nothing before they run
    TokenizerManager.init_request_dispatcher  routes HealthCheckOutput, the answer of a busy
    scheduler to a canary, to nobody
    TokenizerManager.dump_requests_before_crash  reads the last item of `state.out_list`, if that is
    true
    DataParallelController.event_loop      takes messages from `recv_from_tokenizer` and gives them
    to `_request_dispatcher`, and no more
    ReqState                               out_list, output_ids, finished, dispatched
    Engine                                 init_tokenizer_manager_func, run_scheduler_process_func,
    run_detokenizer_process_func,
                                           get_all_child_pids; run_data_parallel_controller_process
                                           is a name of its module
"""

import asyncio
import copyreg
import inspect
import logging
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Literal

from msgspec.structs import replace
from sglang.srt.entrypoints import engine as sglang_engine
from sglang.srt.entrypoints.engine import Engine, init_tokenizer_manager
from sglang.srt.managers.data_parallel_controller import DataParallelController
from sglang.srt.managers.io_struct import (
    BatchStrOutput,
    BatchTokenIDOutput,
    EmbeddingReqInput,
    GenerateReqInput,
    HealthCheckOutput,
)
from sglang.srt.managers.tokenizer_manager import ReqState, TokenizerManager
from sglang.utils import TypeBasedDispatcher

from protocol.generation import Extras, Finished
from protocol.process.own_directory import process_directory
from protocol.process.start_error import StartError
from protocol.replies import Delta
from protocol.tokens import pack_tokens
from workers.engine import BROKEN
from workers.sglang.children import run_controller, run_detokenizer, run_scheduler
from workers.sglang.grammars.scheduler import check_grammar_seam
from workers.sglang.sockets import check_sockets_seam, meet_in
from workers.sglang.translation import outcome, scores

log = logging.getLogger(__name__)


class Output:
    """What one request has put out: takes the place of `ReqState.out_list`, whose `append` is all
    that SGLang calls.
    """

    __slots__ = ("_moved", "_prompt_scored", "ended", "meta_info", "prompt_tokens", "sent", "state")

    def __init__(self, moved: "list[Output]", prompt_tokens: int) -> None:
        self._moved = moved
        self.prompt_tokens = prompt_tokens
        self.state: ReqState | None = None
        self.sent = 0
        self._prompt_scored = False
        self.meta_info: dict[str, Any] = {}
        self.ended = asyncio.get_running_loop().create_future()

    def __bool__(self) -> bool:
        """Nothing is kept here: SGLang's crash dump then takes a request's output from its
        state.
        """
        return False

    def append(self, out: dict[str, Any]) -> None:
        self.meta_info = out["meta_info"]
        self._moved.append(self)

    @property
    def dispatched(self) -> bool:
        """Whether the scheduler has been told of the request, so that only it can end it."""
        return self.state is not None and self.state.dispatched

    def take(self) -> Delta:
        """What is new since the last take."""
        state = self.state
        assert state is not None
        start, new = self.sent, state.output_ids[self.sent :]
        self.sent += len(new)
        end = None
        if state.finished:
            end = outcome(
                self.meta_info, prompt_tokens=self.prompt_tokens, completion_tokens=self.sent
            )
        # Nearly always one token: to_bytes takes a tenth of the time that an array does.
        packed = new[0].to_bytes(4, "little") if len(new) == 1 else pack_tokens(new)
        extras = self._scores(start) if state.obj.return_logprob else None
        if not start and end is None and (cached := self.meta_info.get("cached_tokens")):
            extras = replace(extras or Extras(), cached_tokens=int(cached))
        return Delta(state.obj.rid, start, packed, end, extras)

    def take_or_fail(self) -> Delta:
        """`take`, or a failure where that raises: of this request, since those beside it have
        nothing to do with it.
        """
        start = self.sent
        try:
            return self.take()
        except Exception:
            state = self.state
            assert state is not None
            log.exception("request %s ends, since its output cannot be read", state.obj.rid)
            self.sent = start
            return Delta(state.obj.rid, start, b"", BROKEN)

    def finished_now(self, reason: Literal["stop"]) -> Finished:
        """The end, where not the engine decides that it is."""
        return Finished(
            reason, self.prompt_tokens, self.sent, int(self.meta_info.get("cached_tokens") or 0)
        )

    def _scores(self, start: int) -> Extras | None:
        state = self.state
        assert state is not None
        top = state.obj.top_logprobs_num
        of_prompt = None
        if not self._prompt_scored and state.input_token_logprobs_val:
            self._prompt_scored = True
            of_prompt = scores(
                state.input_token_logprobs_val,
                state.input_top_logprobs_val,
                state.input_top_logprobs_idx,
                top,
            )
        end = self.sent
        values = state.output_token_logprobs_val[start:end]
        of_output = scores(
            values,
            state.output_top_logprobs_val[start:end],
            state.output_top_logprobs_idx[start:end],
            top,
        )
        return Extras(logprobs=of_output if values else None, prompt_logprobs=of_prompt)


class SteppedInput(GenerateReqInput):
    """A request whose output is delivered by step.

    `output` is no dataclass field, so that no log prints it.
    """

    output: Output

    def __reduce_ex__(self, _protocol: Any) -> tuple[Any, ...]:
        """As SGLang's own class, for its dumps of requests: those who read them need not have
        ours.
        """
        state = {name: value for name, value in vars(self).items() if name != "output"}
        return copyreg.__newobj__, (GenerateReqInput,), state


class TextInput(EmbeddingReqInput):
    """A text for its vector, with what SGLang's scheduler takes of one and its own class does not:
    no dataclass fields either.
    """

    routed_dp_rank: int | None
    token_type_ids: list[int] | None


class StepTokenizerManager(TokenizerManager):
    """SGLang's TokenizerManager that delivers the outputs of `SteppedInput`s once per message of
    the engine.

    Attributes:
        on_busy: called when a busy scheduler has answered a canary instead of running it. The
        message does not say which.
        on_failure: called when nothing more will be received from the engine.
    """

    on_step: Callable[[Sequence[Delta]], None]
    on_busy: Callable[[], None]
    on_failure: Callable[[], None]
    moved: list[Output]

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
        """As SGLang's, which would answer an exception by killing this process before anyone can
        say why.
        """
        try:
            await super().handle_loop()
        except Exception:
            log.exception("SGLang's receive loop failed")
            self.on_failure()

    def new_output(self, prompt_tokens: int) -> Output:
        return Output(self.moved, prompt_tokens)

    def _init_req_state(self, obj: Any, request: Any = None) -> None:
        super()._init_req_state(obj, request)
        if isinstance(obj, SteppedInput):
            state = self.rid_to_state[obj.rid]
            state.out_list = obj.output
            obj.output.state = state

    def _create_tokenized_object(self, obj: Any, *arguments: Any, **named: Any) -> Any:
        tokenized = super()._create_tokenized_object(obj, *arguments, **named)
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
        """Yield nothing; return when the request has ended.

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
        states = self._plain_step(recv_obj)
        if states is None:
            await super()._handle_batch_output(recv_obj)
        else:
            self._take_plain_step(recv_obj, states)
        self._deliver_step()

    def _plain_step(self, recv_obj: Any) -> "list[ReqState] | None":
        """The states of a step that is nothing but more tokens for requests of ours; None for every
        other message.

        That is most steps. A request's first and last output, and all that is not ours, get
        SGLang's full treatment (timings, metadata, dumps, release), which costs some 20 µs per
        request and is not needed for a token in between.
        """
        if not isinstance(recv_obj, BatchStrOutput | BatchTokenIDOutput) or any(
            recv_obj.finished_reasons
        ):
            return None
        states: list[ReqState] = []
        for rid in recv_obj.rids:
            state = self.rid_to_state.get(rid)
            if (
                state is None
                or type(state.out_list) is not Output
                or state.time_stats.first_token_time == 0.0
                or state.obj.return_logprob
            ):
                return None
            states.append(state)
        return states

    def _take_plain_step(self, recv_obj: Any, states: "list[ReqState]") -> None:
        for index, (state, new) in enumerate(zip(states, recv_obj.output_ids, strict=True)):
            state.output_ids.extend(new)
            if state.obj.stream:
                self.moved.append(state.out_list)
            if self.enable_metrics:
                try:
                    self.collect_metrics(state, recv_obj, index)
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
    return manager, templates


def _note_failed_start(_signum: int, _frame: Any) -> None:
    log.error("a process of SGLang failed to start; its own message is above")


class StepEngine(Engine):
    """SGLang's Engine with the TokenizerManager above and our way to start its processes, by the
    hooks that Engine has for them.
    """

    init_tokenizer_manager_func = staticmethod(_init_step_tokenizer_manager)
    run_scheduler_process_func = staticmethod(run_scheduler)
    run_detokenizer_process_func = staticmethod(run_detokenizer)

    def __init__(self, **named: Any) -> None:
        meet_in(process_directory())
        super().__init__(**named)


sglang_engine.run_data_parallel_controller_process = run_controller  # for which there is no hook


_PARAMETERS = {
    "generate_request": ("self", "obj", "request"),
    "_wait_one_response": ("self", "obj", "request"),
    "_init_req_state": ("self", "obj", "request"),
    "_handle_batch_output": ("self", "recv_obj"),
    "_handle_abort_req": ("self", "recv_obj"),
    "auto_create_handle_loop": ("self",),
    "sigterm_watchdog": ("self",),
    "init_request_dispatcher": ("self",),
    "_create_tokenized_object": (
        "self",
        "obj",
        "input_text",
        "input_ids",
        "input_embeds",
        "mm_inputs",
        "token_type_ids",
    ),
    "dump_requests_before_crash": ("self", "hostname"),
    "handle_loop": ("self",),
    "abort_request": ("self", "rid", "abort_all"),
}
_CALLS = {
    "generate_request": (
        "self._init_req_state(obj, request)",
        "in self._wait_one_response(obj, request)",
    ),
    "_handle_batch_output": (
        "state.out_list.append(",
        "state.output_ids.extend(",
        "state.finished = ",
    ),
    "_handle_abort_req": ("state.out_list.append(", "state.finished = True"),
    "auto_create_handle_loop": (
        "loop.add_signal_handler(signal.SIGTERM, ",
        "self.asyncio_tasks.add(",
        "self.sigterm_watchdog)",
    ),
    "sigterm_watchdog": ("while not self.gracefully_exit:",),
    "init_request_dispatcher": ("(HealthCheckOutput, lambda x: None)",),
    "dump_requests_before_crash": ("else state.get_crash_dump_output()",),
}
_CONTROLLER: dict[Callable[..., Any], str] = {
    Engine._launch_scheduler_processes: "target=run_data_parallel_controller_process,",
    DataParallelController.event_loop: """        while True:
            while True:
                self.soft_watchdog.feed()
                try:
                    recv_req = sock_recv(self.recv_from_tokenizer, flags=zmq.NOBLOCK)
                except zmq.ZMQError:
                    break
                self._request_dispatcher(recv_req)
""",
}


def check_seam() -> None:
    """Check that the installed SGLang still has what this file relies on.

    Raises:
        StartError: it has not; the message names what is missing.
    """
    check_grammar_seam()
    check_sockets_seam()
    for name, wanted in _PARAMETERS.items():
        method = getattr(TokenizerManager, name, None)
        if method is None or tuple(inspect.signature(method).parameters) != wanted:
            raise StartError(
                f"SGLang has changed: TokenizerManager.{name}({', '.join(wanted)}) is not "
                "what it was in 0.5.23"
            )
        source = inspect.getsource(method)
        for call in _CALLS.get(name, ()):
            if call not in source:
                raise StartError(
                    f"SGLang has changed: TokenizerManager.{name} no longer has `{call}`, as "
                    "it had in 0.5.23"
                )
    for function, call in _CONTROLLER.items():
        if call not in inspect.getsource(function):
            raise StartError(
                f"SGLang has changed: {function.__qualname__} is not what it was in 0.5.23"
            )
    missing = {"out_list", "output_ids", "finished", "dispatched", "obj"} - set(
        inspect.signature(ReqState).parameters
    )
    missing |= {"rids", "output_ids", "finished_reasons"} - set(BatchStrOutput.__struct_fields__)
    if missing:
        raise StartError(
            f"SGLang has changed: ReqState or BatchStrOutput has no {', '.join(sorted(missing))}"
        )
