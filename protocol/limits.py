"""Lists every bound of the wire, each with its unit in its name and its reason beside it."""

from typing import Final

PORT_MAX: Final = 65_535
"""Is the highest TCP port, checked where an address is read, so that a typo is refused at start."""

WIRE_VERSION: Final = b"\x01"
"""Is the first byte of every message; what bears another version is dropped and counted."""

REQUEST_ID_CHARS: Final = 32
"""Is the length of a request id, 32 hex digits: SGLang aborts by prefix, so ids must not be
prefixes of each other.
"""

MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bounds a message of the mesh: a 45 MB HTTP body (the default cap) of one-character tokens is 45 M
ids only in theory; the longest context served today is 10 M tokens = 40 MB of u32.
"""

FRAME_BYTES_MAX: Final = 64 * 1024
"""Bounds a frame, so that larger messages travel in several: a bound socket takes a frame before it
knows from whom. libzmq drops a peer that sends more (MAXMSGSIZE).
"""

CURVE_BYTES: Final = 64
"""Is more than encryption adds to a frame."""

MESSAGES_QUEUED_MAX: Final = 16_384
"""Is the high-water mark of each of libzmq's sockets of the mesh, in messages.

Credits keep well below it; reaching it is an alarm, not flow control.
"""

MESSAGES_PER_TURN_MAX: Final = 256
"""Bounds the messages taken from a socket in one loop turn, so that a flood of them cannot starve
HTTP or heartbeats.
"""

NAME_CHARS_MAX: Final = 256
"""Bounds model names, worker ids and other labels that a peer supplies."""

PATH_CHARS_MAX: Final = 4_096
"""Bounds a path that a worker tells of, as Linux does."""

MESSAGE_CHARS_MAX: Final = 2_000
"""Bounds the error text that a worker supplies; longer text is cut before it is sent."""

FILE_BYTES_MAX: Final = 128 * 1024 * 1024
"""Bounds one tokenizer file; the largest published tokenizer.json is about 35 MB."""

FILE_CHUNK_BYTES: Final = 1024 * 1024
"""Is the size of the chunks that a model file travels in, so that heartbeats pass between them."""

CARD_FILES_MAX: Final = 16
"""Bounds the files named by one model card; a Hugging Face tokenizer has at most six."""

STOP_TOKEN_IDS_MAX: Final = 256
"""Bounds the stop token ids of one request; model families with many end-of-turn tokens have about
ten.
"""

LOGIT_BIAS_MAX: Final = 1_024
"""Bounds the entries of logit_bias; OpenAI allows 300."""

STOPS_MAX: Final = 32
"""Bounds the stop strings of one request, as SGLang does; OpenAI allows 4."""

STOP_CHARS_MAX: Final = 1_024
"""Bounds the length of one stop string, and with it the text held back."""

STOPS_CHARS_MAX: Final = 4_096
"""Bounds the characters of all stop strings of a request: a step of the search shifts as many bits,
and each distinct one takes half a kilobyte.
"""

TOP_LOGPROBS_MAX: Final = 20
"""Bounds the alternatives told of each token, as OpenAI does."""

GRAMMAR_BYTES_MAX: Final = 256 * 1024
"""Bounds a JSON schema, regular expression or grammar.

The largest published function schemas have some 100 kB.
"""

CUSTOM_PARAMS_MAX: Final = 64
"""Bounds the entries of custom_params at its root."""

ALIASES_MAX: Final = 64
"""Bounds the further names of one model."""

ADAPTERS_MAX: Final = 1_024
"""Bounds the LoRA adapters of one worker; their names travel together."""

CREDIT_REQUESTS_MAX: Final = 4_096
"""Bounds the unfinished requests that a worker grants one frontend.

SGLang may report more running ones than its cache could ever hold; a quarter of the mesh socket's
high-water mark keeps credit, not the socket, the bound that is met first.
"""

PRIORITY_MAX: Final = 100
"""Bounds the priority of a client's request, above and below 0; what is beyond counts as this.

Engines keep figures by priority, so the levels are counted.
"""

MOVED_PRIORITY: Final = PRIORITY_MAX + 1
"""Is the priority of an answer that goes on where its worker was lost: before all who are not being
served yet.
"""

DP_RANKS_MAX: Final = 1_024
"""Bounds the data-parallel ranks behind one worker id."""

HEARTBEAT_INTERVAL_S: Final = 0.25
"""Is the time between two heartbeats, in both directions; four are missed before anything is
concluded.
"""

WORKER_SILENT_S_MAX: Final = 1.5
"""Bounds a worker's silence: after it the worker gets no new work and its requests are given up
(design: a hang is seen in 3 s).
"""

FRONTEND_SILENT_S_MAX: Final = 4.0
"""Bounds a frontend's silence: after it the worker aborts its requests (design: within 5 s)."""
