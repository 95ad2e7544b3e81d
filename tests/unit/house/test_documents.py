"""Documents are true where a machine can tell: every path, flag and environment variable that they
name exists, and so do classes, links and their anchors.
"""

import posixpath
import re
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from tests.unit.house import documents
from tests.unit.house.documents import ROOT, Named

OTHER_FILES: Final = {
    "opencode.json": "opencode's own configuration",
    "tokenizer.json": "of a model",
    "tokenizer_config.json": "of a model",
}

SGLANG_FLAGS: Final = {
    "--admin-api-key": "who may ask its server to do something to its engine",
    "--api-key": "who may ask its server",
    "--base-gpu-id": "the first GPU of an engine",
    "--disaggregation-decode-enable-radix-cache": "prefixes of decode workers",
    "--disaggregation-transfer-backend": "how KV caches are handed over",
    "--dist-init-addr": "engines that span nodes",
    "--dit-precision": "the format of numbers in which pictures are made",
    "--dllm-algorithm-config": "settings of text diffusion",
    "--dp-size": "data-parallel ranks",
    "--dtype": "the format of numbers that a model computes in",
    "--enable-cache-report": "its own usage",
    "--enable-deterministic-inference": "seeds",
    "--enable-dp-attention": "ranks of attention data parallelism",
    "--enable-lora": "adapters",
    "--enable-memory-saver": "memory that can be released",
    "--disable-priority-preemption": "its queue alone in the order of priorities",
    "--enable-metrics": "its own metrics",
    "--enable-priority-scheduling": "its queue in the order of priorities",
    "--enable-trace": "its own spans",
    "--enable-strict-thinking": "a bound on thinking",
    "--enable-weights-cpu-backup": "weights that outlive a release",
    "--kv-events-config": "where it publishes KV events",
    "--lora-path": "an adapter of pictures and videos",
    "--lora-scale": "an adapter of pictures and videos",
    "--lora-target-modules": "adapters",
    "--max-lora-rank": "adapters",
    "--max-total-tokens": "the size of its cache",
    "--mem-fraction-static": "memory of a GPU",
    "--mm-feature-transport": "what is made of pictures, on its way to schedulers",
    "--nnodes": "engines that span nodes",
    "--node-rank": "engines that span nodes",
    "--no-dllm-fdfo": "how batches of text diffusion end",
    "--otlp-traces-endpoint": "where it sends its own spans",
    "--page-size": "its cache",
    "--pp-size": "pipeline parallelism",
    "--reasoning-parser": "its parser of thinking",
    "--sleep-on-idle": "what its schedulers do without work",
    "--speculative-algorithm": "speculative decoding",
    "--tool-call-parser": "its parser of tool calls",
    "--tp": "tensor parallelism",
    "--trust-remote-code": "code of a model's owner",
}
"""Arguments of SGLang 0.5.23, handed on as they are. Kept by hand: its parser would bring torch
into pytest's process.
"""

OTHER_FLAGS: Final = {
    "--cache-report": "SGLang's bench_serving",
    "--profile": "docker compose",
    "--config": "the file of settings of a frontend, and SGLang's own",
    "--kvmesh-config": "the file of settings of a worker",
    "--help": "argparse's",
    "--timeout": "pytest-timeout's",
}

OTHER_VARIABLES: Final = {
    "ANTHROPIC_AUTH_TOKEN": "Claude Code's",
    "ANTHROPIC_BASE_URL": "Claude Code's",
    "ANTHROPIC_MODEL": "Claude Code's",
    "NCCL_SOCKET_IFNAME": "NCCL's",
    "SGLANG_HOST_IP": "SGLang's",
}

BYTES_MAX: Final = {"README.md": 8 * 1024, "ARCHITECTURE.md": 12 * 1024}

COLUMNS_MAX: Final = 100

PACKAGES: Final = ("protocol", "kv_events", "frontend", "workers")


def _unknown(named: Iterable[Named], known: set[str]) -> list[str]:
    return [
        str(one)
        for one in named
        if one.name not in known
        and not (one.name.endswith("*") and any(name.startswith(one.name[:-1]) for name in known))
    ]


def _exists(path: str) -> bool:
    known = documents.tracked() | documents.folders()
    if "*" in path:
        return any(fnmatch(name, path) for name in known)
    return path in known or f"{path}.py" in known


def test_links_lead_somewhere() -> None:
    broken: list[str] = []
    for link in documents.links():
        target, _, anchor = link.name.partition("#")
        path = (
            posixpath.normpath(posixpath.join(posixpath.dirname(link.document), target))
            if target
            else link.document
        )
        if not _exists(path) or (anchor and anchor not in documents.anchors(path)):
            broken.append(str(link))
    assert broken == []


def test_paths_exist() -> None:
    missing = [
        str(named)
        for named in documents.paths()
        if not _exists(named.name)
        # NAME and <type> stand for any
        and not (re.search(r"<\w+>|[A-Z]{4}", named.name) and _exists(str(Path(named.name).parent)))
    ]
    assert missing == []


def test_files_named_without_their_folder_exist() -> None:
    known = {Path(path).name for path in documents.tracked()} | set(OTHER_FILES)
    assert _unknown(documents.files(), known) == []


def test_what_is_to_be_run_exists() -> None:
    missing = [
        str(named)
        for named in documents.modules()
        if not _exists(named.name.replace(".", "/") + "/__main__")
        and named.name.replace(".", "/") + ".py" not in documents.tracked()
    ]
    assert missing == []


def test_flags_exist() -> None:
    known = documents.declared_flags() | set(SGLANG_FLAGS) | set(OTHER_FLAGS)
    assert _unknown(documents.flags(), known) == []


def test_environment_variables_exist() -> None:
    known = documents.declared_variables()
    read = set(re.findall(r"\"([A-Z0-9_]+)\"", documents.sources()))
    assert _unknown(documents.variables(), known | read | set(OTHER_VARIABLES)) == []


def test_classes_and_their_attributes_exist() -> None:
    words = set(re.findall(r"\w+", documents.sources()))
    missing = [
        str(named)
        for named in documents.names_of_code()
        if not words.issuperset(named.name.split("."))
    ]
    assert missing == []


def test_the_lists_of_what_belongs_to_others_have_nothing_that_nobody_names() -> None:
    flags = {named.name for named in documents.flags()}
    variables = {named.name for named in documents.variables()}
    files = {named.name for named in documents.files()}
    assert set(SGLANG_FLAGS) | set(OTHER_FLAGS) <= flags
    assert set(OTHER_VARIABLES) <= variables
    assert set(OTHER_FILES) <= files


def test_prose_keeps_to_a_hundred_columns() -> None:
    long = [
        f"{document}: {line[:60]}"
        for document, text in documents.documents().items()
        for line in documents.prose(text)
        if len(line) > COLUMNS_MAX and "](" not in line
    ]
    assert long == []


def test_readme_and_map_stay_short() -> None:
    for name, bytes_max in BYTES_MAX.items():
        assert (ROOT / name).stat().st_size <= bytes_max, name


def test_the_map_has_every_folder_of_the_packages() -> None:
    text = documents.documents()["ARCHITECTURE.md"]
    rooms = {
        folder
        for folder in documents.folders()
        if folder.split("/")[0] in PACKAGES and folder.count("/") <= 1
    } - set(PACKAGES)
    assert {room for room in rooms if f"`{room}/`" not in text} == set()


def test_decisions_have_their_four_parts_and_are_listed() -> None:
    pages = {
        path: text
        for path, text in documents.documents().items()
        if re.fullmatch(r"docs/decisions/\d{4}-[\w-]+\.md", path)
    }
    listed = documents.documents()["docs/decisions/README.md"]
    numbers = [int(Path(path).name[:4]) for path in pages]
    assert numbers == list(range(1, len(pages) + 1))
    for path, text in pages.items():
        parts = re.findall(r"^## (.*)$", text, re.MULTILINE)
        assert parts == ["Chosen", "Against", "Why", "When to look again"], path
        assert f"({Path(path).name})" in listed, path
