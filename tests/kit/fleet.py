"""A fleet as tests use it: on the sim engine unless told otherwise, asked by OpenAI's client."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import httpx._transports.default as httpx_transports
import openai

import starter.fleet
from starter.addresses import worker_command
from starter.process import Process
from tests.kit.forks import start_light, start_with_sglang
from tests.kit.sglang_environment import sglang_environment

# A client reads the certificates of all authorities, for 25 ms, and none here speaks TLS: once is
# enough for httpx's own clients and for OpenAI's and Anthropic's, which are made of them.
httpx_transports.create_ssl_context = cache(httpx_transports.create_ssl_context)


class Fleet(starter.fleet.Fleet):
    """A frontend and workers as users start them, and clients of theirs.

    Its frontends and simulated workers are forks that spare the imports; `start` and `launch` run
    the real command.
    """

    def frontend(self, *options: str, env: Mapping[str, str] | None = None) -> Process:
        """Start a frontend at the fleet's addresses."""
        command = self.addresses.frontend_command(*options)
        return self.launch("frontend", command, env=env, by=start_light)

    def worker(
        self, *options: str, engine: str = "sim", env: Mapping[str, str] | None = None
    ) -> Process:
        """Start a worker that dials the fleet's mesh address."""
        command = worker_command([self.mesh], "--engine", engine, *options)
        if engine == "sglang":
            return self.launch("worker", command, env=sglang_environment() | dict(env or {}))
        return self.launch("worker", command, env=env, by=start_light)

    def forked_worker(self, *options: str) -> Process:
        """Start a worker with real SGLang, in a process that has imported it."""
        command = worker_command([self.mesh], "--engine", "sglang", *options)
        log = self.directory / f"{len(self.processes)}-worker.log"
        environment = {"KVMESH_CACHE_DIR": str(self.directory / "cache")}
        self.processes.append(process := start_with_sglang(command[1:], log, environment))
        return process

    def client(self, **options: Any) -> openai.OpenAI:
        """A client that tries once."""
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=60, **options
        )

    def async_client(self) -> openai.AsyncOpenAI:
        """A client for many requests at once, that tries once."""
        return openai.AsyncOpenAI(
            base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=60
        )
