"""kvmesh relies on these names in SGLang 0.5.23 to run requests and watch processes.

Imports no SGLang.
"""

from typing import Final

from workers.sglang.seam.relied import Relied

_MANAGER: Final = "srt.managers.tokenizer_manager:TokenizerManager."
_CONTROL: Final = "srt.managers.tokenizer_control_mixin:TokenizerControlMixin."
_CONTROLLER: Final = "srt.managers.data_parallel_controller:DataParallelController."
_STEPS: Final = "seam/steps.py"
_SOCKETS: Final = "sockets.py"

STEPS: Final = (
    Relied(
        name=_MANAGER + "generate_request",
        used_in="requests/submissions.py",
        why="Validates and dispatches a request, and waits with our way to wait.",
        parameters=("self", "obj", "request"),
        says=(
            "self._init_req_state(obj, request)",
            "in self._wait_one_response(obj, request)",
        ),
    ),
    Relied(
        name=_MANAGER + "_wait_one_response",
        used_in=_STEPS,
        why="Iterated after the dispatch; ours sleeps until the request has ended.",
        parameters=("self", "obj", "request"),
    ),
    Relied(
        name="srt.utils.request_logger:RequestLogger",
        used_in=_STEPS,
        why="Says whether requests are logged, which takes their ids in a list.",
        fields=("log_requests",),
    ),
    Relied(
        name="srt.observability.request_metrics_exporter:"
        "RequestMetricsExporterManager.exporter_enabled",
        used_in=_STEPS,
        why="Says whether a record of each request is written, which takes its ids in a list.",
        parameters=("self",),
    ),
    Relied(
        name=_MANAGER + "_init_req_state",
        used_in=_STEPS,
        why="Puts a request's state into rid_to_state, where ours replaces its list of outputs.",
        parameters=("self", "obj", "request"),
    ),
    Relied(
        name=_MANAGER + "_create_tokenized_object",
        used_in=_STEPS,
        why="Makes what the scheduler gets; ours adds rank and token types to a text's.",
        parameters=(
            "self",
            "obj",
            "input_text",
            "input_ids",
            "input_embeds",
            "mm_inputs",
            "token_type_ids",
        ),
    ),
    Relied(
        name=_MANAGER + "_handle_batch_output",
        used_in=_STEPS,
        why="One message of the engine, a step: new ids and finish reasons of its requests.",
        parameters=("self", "recv_obj"),
        says=("state.out_list.append(", "state.output_ids.extend(", "state.finished = "),
    ),
    Relied(
        name=_MANAGER + "_handle_abort_req",
        used_in=_STEPS,
        why=(
            "The end of a request in the waiting queue. It repeats the last id, but leaves "
            "output_ids, which is what is read, as it was."
        ),
        parameters=("self", "recv_obj"),
        says=("state.out_list.append(", "state.finished = True"),
    ),
    Relied(
        name=_MANAGER + "auto_create_handle_loop",
        used_in="engine.py",
        why="Starts the receive loop and registers signal handlers, which ours defers.",
        parameters=("self",),
        says=(
            "loop.add_signal_handler(signal.SIGTERM, ",
            "self.asyncio_tasks.add(",
            "self.sigterm_watchdog)",
        ),
    ),
    Relied(
        name=_MANAGER + "sigterm_watchdog",
        used_in="engine.py",
        why="Does nothing before those handlers run; cancelled before they do.",
        parameters=("self",),
        says=("while not self.gracefully_exit:",),
    ),
    Relied(
        name=_MANAGER + "handle_loop",
        used_in=_STEPS,
        why=(
            "Receives, by a name of its module that is ours; ours says why it ended instead of "
            "killing the process."
        ),
        parameters=("self",),
        says=("await async_sock_recv(self.recv_from_detokenizer)",),
    ),
    Relied(
        name=_MANAGER + "init_request_dispatcher",
        used_in=_STEPS,
        why=(
            "Routes the answer of a busy scheduler to a canary to nobody; ours takes it. Takes "
            "what a scheduler tells its detokenizer besides outputs."
        ),
        parameters=("self",),
        says=(
            "(HealthCheckOutput, lambda x: None)",
            "(FreezeGCReq, lambda x: None)",
            "(ConfigureLoggingReq, lambda x: None)",
            "self._result_dispatcher",
        ),
    ),
    Relied(
        name=_MANAGER + "abort_request",
        used_in="requests/submissions.py",
        why="Ends a request that the scheduler knows.",
        parameters=("self", "rid", "abort_all"),
    ),
    Relied(
        name=_MANAGER + "dump_requests_before_crash",
        used_in="engine.py",
        why="Reads the last item of a request's list of outputs only where that is true.",
        parameters=("self", "hostname"),
        says=("else state.get_crash_dump_output()",),
    ),
    Relied(
        name=_MANAGER + "_dispatch_to_scheduler",
        used_in="processes.py",
        why="Tells the schedulers to end.",
        parameters=("self", "obj"),
    ),
    Relied(
        name=_MANAGER + "freeze_gc",
        used_in="engine.py",
        why="What was loaded is not looked through for garbage any more.",
        parameters=("self",),
    ),
    Relied(
        name="srt.managers.tokenizer_manager:ReqState",
        used_in="seam/output.py",
        why="What a request has put out, read where SGLang would have queued it.",
        fields=("out_list", "output_ids", "finished", "dispatched", "obj"),
    ),
)
"""Requests and their tokens are run and read by these names."""

PROCESSES: Final = (
    Relied(
        name="srt.entrypoints.engine:Engine._launch_scheduler_processes",
        used_in=_STEPS,
        why="Starts the controller of data parallelism by a name of its module, ours instead.",
        says=("target=run_data_parallel_controller_process,",),
    ),
    Relied(
        name="srt.entrypoints.engine:_set_envs_and_config",
        used_in="cpu/spares.py",
        why="Has multiprocessing spawn processes, which are forks of ours on a CPU host.",
        says=('mp.set_start_method("spawn", force=True)',),
    ),
    Relied(
        name="srt.entrypoints.engine:Engine.__init__",
        used_in="facts.py",
        why="Keeps what the schedulers said of themselves.",
        says=("self._scheduler_init_result = ",),
    ),
    Relied(
        name=_MANAGER + "init_running_status",
        used_in="processes.py",
        why="Has the watchdog of the processes and the tasks; ours takes its place.",
        says=("self._subprocess_watchdog = None", "self.asyncio_tasks = set()", "rid_to_state"),
    ),
    Relied(
        name=_CONTROLLER + "event_loop",
        used_in="children.py",
        why="Hands on messages, and no more, so that one that sleeps can take its place.",
        says=(
            """        while True:
            while True:
                self.soft_watchdog.feed()
                try:
                    recv_req = sock_recv(self.recv_from_tokenizer, flags=zmq.NOBLOCK)
                except zmq.ZMQError:
                    break
                self._request_dispatcher(recv_req)
""",
        ),
    ),
    Relied(
        name=_CONTROLLER + "_broadcast_worker_ports",
        used_in=_SOCKETS,
        why="Tells other nodes the ports of ranks; left out where there are none.",
        parameters=("self", "server_args", "worker_ports"),
    ),
    Relied(
        name=_CONTROLLER + "launch_dp_attention_schedulers",
        used_in=_SOCKETS,
        why="Binds a port for each rank, ours in a directory of this user.",
        says=(
            """                worker_port, worker_socket = get_zmq_socket_on_host(
                    self.context, zmq.PUSH, host=bind_host, restrict_peers=True
                )
                worker_ports.append(worker_port)""",
        ),
    ),
    Relied(
        name=_CONTROLLER + "launch_tensor_parallel_group",
        used_in=_SOCKETS,
        why="Makes the addresses of each rank's schedulers by PortArgs.init_new.",
        says=(
            """PortArgs.init_new(
                        server_args, dp_rank, worker_ports
                    )""",
        ),
    ),
    Relied(
        name="srt.server_args:PortArgs.init_new",
        used_in=_SOCKETS,
        why="Makes an engine's addresses, TCP ports under attention data parallelism.",
        says=("if not attn_dp_enabled_of(cfg):",),
    ),
    Relied(
        name="srt.disaggregation.kv_events:ZmqEventPublisher.__init__",
        used_in=_SOCKETS,
        why="Takes each rank's endpoint from offset_endpoint_port, which ours makes a path.",
        says=("self._endpoint = self.offset_endpoint_port(endpoint, self._dp_rank)",),
    ),
    Relied(
        name="srt.distributed.bootstrap:_resolve_dist_init_method",
        used_in=_SOCKETS,
        why="Takes the file in which a world meets from the environment.",
        says=("envs.SGLANG_DISTRIBUTED_INIT_METHOD_OVERRIDE.get()",),
    ),
    Relied(
        name="srt.server_args:prepare_server_args",
        used_in="arguments.py",
        why="Notes beside the parsed values whether the eviction policy was given; ours too.",
        says=("_radix_eviction_policy_explicitly_set",),
    ),
    Relied(
        name=_CONTROL + "_unload_lora_adapter_locked",
        used_in="adapters.py",
        why="Waits for what uses an adapter, and remembers those that it has not unloaded yet.",
        says=("self.pending_lora_unloads",),
    ),
    Relied(
        name="srt.lora.lora_registry:LoRARegistry.get_all_adapters",
        used_in="adapters.py",
        why="The adapters that are loaded, by name.",
        parameters=("self",),
    ),
)
"""Processes, the places where they meet, and what they have loaded are reached by these names."""
