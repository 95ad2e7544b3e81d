"""One specimen of every message, for golden bytes and round trips; and a ZMQ context for tests of
sockets.
"""

from collections.abc import Iterator

import pytest
import zmq

from protocol.codec import ToFrontend
from protocol.disaggregation import Bootstrap, BootstrapServer
from protocol.embedding import Embed, Embedded
from protocol.encoding import Encode, Encoded
from protocol.generation import (
    CachedBelow,
    Content,
    Extras,
    Finished,
    Generate,
    Grammar,
    Logprobs,
    LogprobsWanted,
    Reading,
    Reasoning,
    Sampling,
    ToolCall,
)
from protocol.media import MediaTaken, PromptMedia
from protocol.membership import (
    AdapterList,
    Capacity,
    CardFile,
    Draining,
    Goodbye,
    Heartbeat,
    Hello,
    KvSource,
    Loading,
    ModelCard,
    RankLoad,
    RelayCounts,
    RelayHello,
    SamplingDefaults,
)
from protocol.operated import Operated
from protocol.replies import Delta, Failed, FileChunk, StepBatch, Tokenized
from protocol.requests import (
    Abort,
    AnotherWay,
    FetchFile,
    FrontendHeartbeat,
    HelloWanted,
    Refused,
    Tokenize,
    ToWorker,
    Welcome,
)
from protocol.text_diffusion import TextDiffusion
from protocol.tokens import pack_tokens
from protocol.transport.sockets import Socket

REQUEST_ID = "0123456789abcdef0123456789abcdef"
SHA256 = "ab" * 32

CARD = ModelCard(
    name="demo",
    context_length=4096,
    vocab_size=2048,
    eos_token_ids=[2, 0],
    files=[CardFile("tokenizer.json", SHA256, 12345)],
    aliases=["alias"],
    defaults=SamplingDefaults(temperature=0.1, top_k=20),
    created_unix_s=1_700_000_000,
    chat_template_file="own.jinja",
)

TO_WORKER: dict[str, ToWorker] = {
    "generate_read": Generate(
        request_id=REQUEST_ID,
        model="demo",
        token_ids=pack_tokens([1]),
        sampling=Sampling(max_new_tokens=16, stop_regex=["a+"], custom_params={"a": [1]}),
        deadline_unix_ms=1_800_000_000_000,
        grammar=Grammar("json_schema", "{}"),
        logprobs=LogprobsWanted(top=2, of_prompt=True),
        reading=Reading(
            b'{"tools":[]}',
            1,
            ["stop"],
            include_stop=True,
            skip_special_tokens=False,
            replayed_tokens=1,
        ),
    ),
    "embed_pair": Embed(
        REQUEST_ID, "demo", pack_tokens([1, 2, 3]), 1_800_000_000_000, second_text_at=2
    ),
    "embed": Embed(
        request_id=REQUEST_ID,
        model="demo",
        token_ids=pack_tokens([1, 2]),
        deadline_unix_ms=1_800_000_000_000,
        dimensions=64,
    ),
    "encode": Encode(
        REQUEST_ID,
        "demo",
        [PromptMedia("image", b"png", 7, at=1, tokens=2, param="messages.0")],
        1_800_000_000_000,
        fetches=2,
    ),
    "generate_encoded": Generate(
        REQUEST_ID,
        "demo",
        pack_tokens([1, 9, 9]),
        Sampling(max_new_tokens=16),
        1_800_000_000_000,
        media=[PromptMedia("image", b"", 7, at=1, tokens=2)],
        encoded_at="tcp://10.0.0.1:7000",
    ),
    "generate": Generate(
        request_id=REQUEST_ID,
        model="demo",
        token_ids=pack_tokens([1, 2, 70_000]),
        sampling=Sampling(
            max_new_tokens=16, temperature=0.5, seed=7, stop_token_ids=[3], logit_bias={"5": -100.0}
        ),
        deadline_unix_ms=1_800_000_000_000,
        stream=False,
        priority=2,
        routed_dp_rank=1,
        lora_name="adapter",
        cache_salt="tenant",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ),
    "generate_traced": Generate(
        REQUEST_ID,
        "demo",
        pack_tokens([1]),
        Sampling(max_new_tokens=1),
        1_800_000_000_000,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        tracestate="vendor=of-the-caller",
    ),
    "generate_leg": Generate(
        REQUEST_ID,
        "demo",
        pack_tokens([1]),
        Sampling(max_new_tokens=1),
        1_800_000_000_000,
        bootstrap=Bootstrap("10.0.0.1", 8998, 2**62 + 3, 3),
    ),
    "generate_with_media": Generate(
        REQUEST_ID,
        "demo",
        pack_tokens([1, 9, 9, 2, 10]),
        Sampling(max_new_tokens=1),
        1_800_000_000_000,
        media=[
            PromptMedia("image", b"\x89PNG", 2**63 - 1, 1, 2, "messages[0].content[1]"),
            PromptMedia("video", b"ftyp", 1, 4),
        ],
    ),
    "generate_minimal": Generate(REQUEST_ID, "demo", b"", Sampling(max_new_tokens=1), 0),
    "abort": Abort(REQUEST_ID),
    "tokenize": Tokenize(
        REQUEST_ID, "demo", 1_900_000_000_000, "text", add_special_tokens=False, chat=b"{}"
    ),
    "tokenize_images": Tokenize(REQUEST_ID, "demo", 0, images=[(640, 480), (1, 2**20)]),
    "fetch_file": FetchFile(SHA256),
    "hello_wanted": HelloWanted(),
    "welcome": Welcome("frontend-1"),
    "refused": Refused("other files"),
    "another_way": AnotherWay(),
    "frontend_heartbeat": FrontendHeartbeat(),
    "frontend_heartbeat_with_clock": FrontendHeartbeat(1_700_000_000_000),
}

TO_FRONTEND: dict[str, ToFrontend] = {
    "tokenized_images": Tokenized(REQUEST_ID, image_tokens=[6, 2**32 - 1]),
    "hello_that_sees": Hello(
        worker_id="v-1",
        epoch=7,
        service="text",
        endpoint="dyn://kvmesh.backend.generate",
        card=ModelCard("see", 512, 2048, [], [], media=MediaTaken(9, 10, counts_images=True)),
        capacity=Capacity(
            dp_size=1, page_size_tokens=16, kv_tokens=16_384, requests_running_max=64
        ),
        credit_requests=128,
    ),
    "hello_that_diffuses": Hello(
        worker_id="d-1",
        epoch=7,
        service="text",
        endpoint="dyn://kvmesh.backend.generate",
        card=ModelCard(
            "diffuse",
            512,
            2048,
            [],
            [],
            text_diffusion=TextDiffusion("LowConfidence", 4, greedy=True),
        ),
        capacity=Capacity(
            dp_size=1,
            page_size_tokens=4,
            kv_tokens=16_384,
            requests_running_max=1,
            reuses_prefixes=False,
        ),
        credit_requests=64,
    ),
    "hello_of_encode": Hello(
        worker_id="e-1",
        epoch=7,
        service="encode",
        endpoint="dyn://kvmesh.encode.generate",
        card=ModelCard("see", 512, 2048, [], [], media=MediaTaken(9, encoder="0123456789abcdef")),
        capacity=Capacity(dp_size=1, page_size_tokens=16, kv_tokens=16_384, requests_running_max=8),
        credit_requests=128,
        stage="encode",
        encodings="tcp://10.0.0.1:7000",
    ),
    "hello_of_prefill": Hello(
        worker_id="p-1",
        epoch=7,
        service="text",
        endpoint="dyn://kvmesh.prefill.generate",
        card=ModelCard("demo", 512, 2048, [], []),
        capacity=Capacity(
            dp_size=4, page_size_tokens=16, kv_tokens=16_384, requests_running_max=64
        ),
        credit_requests=128,
        stage="prefill",
        bootstrap=BootstrapServer("10.0.0.1", 8998),
    ),
    "hello_of_cross_encoder": Hello(
        worker_id="host-1",
        epoch=7,
        service="embedding",
        endpoint="dyn://kvmesh.backend.embed",
        card=ModelCard(
            name="demo",
            context_length=512,
            vocab_size=2048,
            eos_token_ids=[],
            files=[],
            embedding_dimensions=1,
            cross_encoder=True,
        ),
        capacity=Capacity(
            dp_size=1, page_size_tokens=16, kv_tokens=16_384, requests_running_max=64
        ),
        credit_requests=64,
    ),
    "step_read": StepBatch(
        [
            Delta(
                REQUEST_ID,
                0,
                pack_tokens([5]),
                Finished(
                    "stop",
                    3,
                    1,
                    reasoning_tokens=1,
                    matched_stop="stop",
                    video_tokens=2,
                    audio_tokens=1,
                    cached_below=CachedBelow(1, 2, "HiCacheFile"),
                ),
                Extras(
                    [
                        Reasoning("hm"),
                        Content("so"),
                        ToolCall(0, "call_1", "f", "{"),
                        ToolCall(0, arguments="}"),
                    ],
                    Logprobs(b"\x00" * 4, 1, b"\x01\x00\x00\x00", b"\x00" * 4),
                    Logprobs(b"\x00" * 12),
                    cached_tokens=3,
                    cached_below=CachedBelow(1),
                ),
            ),
            Delta(REQUEST_ID, 0, b"", Embedded(b"\x00" * 8, 3)),
        ]
    ),
    "step_encoded": StepBatch([Delta(REQUEST_ID, 0, b"", Encoded(1, 2, 3_000, 4_096))]),
    "step": StepBatch(
        [
            Delta(REQUEST_ID, 4, pack_tokens([9, 10])),
            Delta(REQUEST_ID, 6, pack_tokens([2]), Finished("stop", 3, 7, 2, 2)),
            Delta(REQUEST_ID, 0, b"", Failed("invalid_value", "no", "top_p")),
        ]
    ),
    "adapters": AdapterList(["poet", "clerk"]),
    "hello_with_adapters": Hello(
        worker_id="w-1",
        epoch=42,
        service="text",
        endpoint="dyn://kvmesh.backend.generate",
        card=CARD,
        capacity=Capacity(dp_size=1, page_size_tokens=16, kv_tokens=16384, requests_running_max=8),
        credit_requests=64,
        adapters=["poet"],
    ),
    "hello": Hello(
        worker_id="w-1",
        epoch=42,
        service="text",
        endpoint="dyn://kvmesh.backend.generate",
        card=CARD,
        capacity=Capacity(dp_size=2, page_size_tokens=16, kv_tokens=16384, requests_running_max=8),
        credit_requests=64,
        engine="sim",
    ),
    "hello_with_kv": Hello(
        worker_id="w-1",
        epoch=42,
        service="text",
        endpoint="dyn://kvmesh.backend.generate",
        card=CARD,
        capacity=Capacity(
            dp_size=2,
            page_size_tokens=16,
            kv_tokens=16384,
            requests_running_max=8,
            slow_kv_tokens=32768,
            block_size_tokens=128,
        ),
        credit_requests=64,
        kv=KvSource(2**63 - 1, "tcp://127.0.0.1:20000", "tcp://127.0.0.1:20001", 0, 2),
    ),
    "relay_hello": RelayHello(
        "w-1", 43, KvSource(5, "tcp://10.0.0.2:20000", "tcp://10.0.0.2:20001", 8, 8)
    ),
    "relay_hello_of_a_way": RelayHello(
        "w-1", 43, KvSource(5, "tcp://10.0.0.2:20000", "tcp://10.0.0.2:20001", 8, 8), 2
    ),
    "heartbeat": Heartbeat("w-1", 42, [RankLoad(0, 1, 2, 300, 40, 17), RankLoad(1, 0, 0, 0)]),
    "heartbeat_of_a_pause": Heartbeat(
        "w-1", 42, [], operated=Operated("paused", "it is paused", True, 3, "step-400")
    ),
    "heartbeat_with_relay": Heartbeat("w-1", 42, [], RelayCounts(1, 2, 3, 4, 5, 6)),
    "loading": Loading("w-1", "demo", "loading", 2.5),
    "draining": Draining(),
    "goodbye": Goodbye("stopped"),
    "file_chunk": FileChunk(SHA256, 0, 3, b"abc"),
    "tokenized": Tokenized(REQUEST_ID, pack_tokens([1, 70_000]), ["User:"]),
    "not_tokenized": Tokenized(
        REQUEST_ID, failed=Failed("invalid_value", "no template", "messages")
    ),
}


@pytest.fixture
def to_worker() -> dict[str, ToWorker]:
    """Messages that a frontend sends, by name."""
    return TO_WORKER


@pytest.fixture
def to_frontend() -> dict[str, ToFrontend]:
    """Messages that a worker sends, by name."""
    return TO_FRONTEND


@pytest.fixture
def context() -> Iterator["zmq.Context[Socket]"]:
    context: zmq.Context[Socket] = zmq.Context()
    yield context
    context.destroy(linger=0)
