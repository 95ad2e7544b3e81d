"""What the page for those who come from Dynamo says of our settings, headers, fields and engine
routes is so, and it has all that Dynamo's guide names. Paths and metrics are asked of a mesh:
tests/fleet/test_pages_of_a_mesh.py.
"""

import fnmatch
import re
from dataclasses import fields
from typing import Final

import pytest

from frontend.api.fields.nvext import NvExt
from frontend.http.routing_headers import HEADER_FIELDS
from protocol.process.tracing import ENDPOINTS, PROTOCOLS
from tests.kit.dynamo_page import NONE, PAGE, SAME, Row, names, rows
from tests.unit.house import documents
from tests.unit.house.test_documents import SGLANG_FLAGS
from workers.operating.routes import ALIASES, ROUTES
from workers.settings import WorkerSettings
from workers.system.pages import CONTROLS_PATH

GUIDE: Final = {
    "--endpoint": "DYN_ENDPOINT",
    "--use-sglang-tokenizer": "DYN_SGL_USE_TOKENIZER",
    "--dyn-tool-call-parser": "DYN_TOOL_CALL_PARSER",
    "--dyn-reasoning-parser": "DYN_REASONING_PARSER",
    "--custom-jinja-template": "DYN_CUSTOM_JINJA_TEMPLATE",
    "--embedding-worker": "DYN_SGL_EMBEDDING_WORKER",
    "--multimodal-processor": "DYN_SGL_MULTIMODAL_PROCESSOR",
    "--multimodal-encode-worker": "DYN_SGL_MULTIMODAL_ENCODE_WORKER",
    "--multimodal-worker": "DYN_SGL_MULTIMODAL_WORKER",
    "--image-diffusion-worker": "DYN_SGL_IMAGE_DIFFUSION_WORKER",
    "--video-generation-worker": "DYN_SGL_VIDEO_GENERATION_WORKER",
    "--disagg-config": "DYN_SGL_DISAGG_CONFIG",
    "--disagg-config-key": "DYN_SGL_DISAGG_CONFIG_KEY",
}
"""Dynamo's own arguments of a SGLang worker, with their variables, as its guide lists them."""

GUIDE_ELSEWHERE: Final = (
    "--config",
    "--disaggregation-mode",
    "--dllm-algorithm",
    "--enable-dp-attention",
    "--enable-metrics",
    "--is-embedding",
    "--kv-events-config",
    "--model-path",
    "--tool-call-parser",
    "--tp",
    "--trust-remote-code",
    "DYN_SYSTEM_PORT",
    "POST /engine/release_memory_occupation",
    "POST /engine/resume_memory_occupation",
    "POST /engine/start_profile",
    "POST /engine/stop_profile",
    "POST /engine/update_weight_version",
    "POST /engine/update_weights_from_disk",
    "POST /engine/update_weights_from_distributor",
)
"""What else it names."""

_OPEN_TELEMETRY: Final = {
    *ENDPOINTS,
    *PROTOCOLS,
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "SGLANG_TRACE_LEVEL",
}
"""Read by ourselves, by OpenTelemetry and by SGLang (tests/fleet/test_tracing.py)."""

_VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9_]+\*?")


def _is_here(name: str) -> bool | None:
    """Whether a setting, header or engine route is there; None of names of another kind."""
    if name.startswith("--"):
        return name.split(maxsplit=1)[0] in documents.flags_of_settings() | set(SGLANG_FLAGS)
    if _VARIABLE.fullmatch(name):
        return bool(fnmatch.filter(documents.declared_variables() | _OPEN_TELEMETRY, name))
    if name.startswith("x-"):
        return name == "x-request-id" or name.encode() in HEADER_FIELDS
    if name.startswith(f"POST {CONTROLS_PATH}"):
        route = name.removeprefix(f"POST {CONTROLS_PATH}").removeprefix("control/")
        adapters = re.findall(r"\"((?:un)?load_lora_adapter)\"", documents.sources())
        return route in {*ALIASES, *adapters} | {each.name for each in ROUTES}
    if name.startswith("kvmesh "):
        command = name.removeprefix("kvmesh ")
        return f"frontend/cli/{command}.py" in documents.tracked()
    return None


def test_tables_are_read() -> None:
    sections = {row.section for row in rows()}
    assert len(sections) == 11, sections
    assert len(rows()) > 150
    assert all(row.here == SAME or row.here == NONE or row.ours for row in rows())


@pytest.mark.parametrize("row", rows(), ids=lambda row: " ".join(row.theirs)[:60])
def test_what_a_row_says_is_here_is_here(row: Row) -> None:
    assert [name for name in row.ours if _is_here(name) is False] == []
    if row.here != SAME:
        assert [name for name in row.theirs if _is_here(name)] == []


def test_fields_of_nvext_are_all_told_of() -> None:
    ours = {name for row in rows("Fields") for name in row.ours}
    theirs = {name for row in rows("Fields") if row.here == NONE for name in row.theirs}
    # a header's name there, and a field here
    assert set(NvExt.__struct_fields__) - ours == {"session_id"}
    assert ours <= set(NvExt.__struct_fields__)
    assert theirs.isdisjoint(NvExt.__struct_fields__)


def test_the_page_has_every_name_of_the_guide() -> None:
    same = {name for row in rows() if row.here == SAME for name in row.theirs}
    assert [name for pair in GUIDE.items() for name in pair if name not in same] == []
    code = names(PAGE.read_text())
    assert [name for name in GUIDE_ELSEWHERE if f"{name} " not in " ".join(code) + " "] == []


def test_arguments_of_the_guide_go_with_their_variables_here() -> None:
    variables = {
        field.metadata["flag"] or "--" + field.name.replace("_", "-"): field.metadata["env"]
        for field in fields(WorkerSettings)
    }
    assert {flag: variables.get(flag) for flag in GUIDE} == GUIDE
