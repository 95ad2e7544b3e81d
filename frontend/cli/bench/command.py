"""`kvmesh bench` measures a running server with users of its own and draws what it found."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from secrets import randbelow
from typing import Final

import uvloop

from frontend.cli.bench.asking import Asking, Refused
from frontend.cli.bench.load import Limit, Load, clock
from frontend.cli.bench.measurement import Report
from frontend.cli.bench.options import SECONDS_DEFAULT
from frontend.cli.bench.probe import model_served, probe
from frontend.cli.bench.prompts import Measure, Prompts
from frontend.cli.bench.report import print_report, save_drawing
from frontend.cli.bench.server import BadUrl, Server
from frontend.cli.bench.summary import Wanted, summary_of, users
from frontend.cli.bench.wishes import Wishes
from frontend.cli.progress import Progress

EXIT_INTERRUPTED: Final = 130
"""Is how shells tell that Ctrl-C ended a program."""

SHOWN_EVERY_S: Final = 0.5

_GUESSED: Final = Measure(tokens_per_word=1.3, tokens_around=0.0)
"""Stands for a server that does not count tokens: what vocabularies make of plain words."""


def run(options: argparse.Namespace) -> int:
    """Measures and tells; returns 1 where a request failed or nothing could be measured, else 0."""
    if options.out is not None and options.out.exists():
        return _complain(f"{options.out} exists, and nothing is overwritten")
    if options.out is not None and not options.out.parent.is_dir():
        return _complain(f"{options.out.parent} is no directory")
    try:
        server = Server.at(options.url, os.environ.get("OPENAI_API_KEY"))
    except BadUrl as error:
        return _complain(str(error))
    report = Report(started=datetime.now(UTC), url=server.url, endpoint=options.endpoint)
    interrupted = False
    try:
        uvloop.run(_Bench(options, server, report).run())
    except Refused as error:
        return _complain(f"cannot measure {server.url}: {error}")
    except KeyboardInterrupt:
        interrupted = True
    if report.loads:
        print_report(report, as_json=options.json)
        if options.out is not None or not options.json:
            save_drawing(report, options.out, quiet=options.json)
    if interrupted:
        return EXIT_INTERRUPTED
    failed = any(each.failures or not each.requests for each in report.loads)
    return int(failed or not report.loads)


class _Bench:
    """A _Bench puts one load after the other on a server."""

    def __init__(self, options: argparse.Namespace, server: Server, report: Report) -> None:
        self._options = options
        self._server = server
        self._report = report
        self._show: Callable[[str], None] = _say_nothing

    async def run(self) -> None:
        """Fills the report.

        Raises:
            Refused: nothing can be measured.
        """
        options, report = self._options, self._report
        progress = None if options.json else Progress()
        if progress is not None:
            self._show = progress.show
        asking = self._user()
        self._show(f"asking {self._server.url} what it serves")
        try:
            report.model = options.model or await model_served(asking)
            wishes = Wishes(report.model, options.endpoint, options.output_tokens)
            probed = await probe(asking, wishes, clock)
        finally:
            asking.close()
        report.prompt_tokens, report.output_tokens = options.prompt_tokens, options.output_tokens
        report.shared_prefix_tokens = options.shared_prefix
        report.seed = randbelow(2**31) if options.seed is None else options.seed
        if not probed.wishes.ignores_eos:
            report.notes.append("the server knows no ignore_eos: answers may end before their time")
        if probed.measure is None:
            report.notes.append("the server does not count tokens: prompts are about as long")
        measure = probed.measure or _GUESSED
        prompts = Prompts(measure, options.prompt_tokens, options.shared_prefix, report.seed)
        for concurrency in options.concurrency:
            await self._load(concurrency, probed.wishes, prompts)
        if progress is not None:
            progress.end()

    def _user(self) -> Asking:
        return Asking(self._server, self._options.timeout)

    async def _load(self, concurrency: int, wishes: Wishes, prompts: Prompts) -> None:
        options = self._options
        seconds = options.seconds
        if options.requests is None and seconds is None:
            seconds = SECONDS_DEFAULT

        def new_request() -> bytes:
            return self._server.request(wishes.path, wishes.body(prompts.next(), stream=True))

        load = Load(concurrency, Limit(seconds, options.requests), self._user, new_request)
        showing = asyncio.create_task(self._show_load(load))
        try:
            outcome = await load.run()
        finally:
            showing.cancel()
        wanted = Wanted(options.prompt_tokens, options.output_tokens, _is_here(self._server.host))
        self._report.loads.append(summary_of(outcome, wanted))

    async def _show_load(self, load: Load) -> None:
        while True:
            outcome = load.outcome
            done = len(outcome.records)
            phase = f"{done} requests measured" if load.warm else "warming up"
            self._show(f"{users([outcome.concurrency])}: {phase}")
            await asyncio.sleep(SHOWN_EVERY_S)


def _is_here(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def _say_nothing(_: str) -> None:
    """Shows no progress to programs."""


def _complain(text: str) -> int:
    print(f"kvmesh: {text}", file=sys.stderr)
    return 1
