"""Memory of a frontend that hands pictures to many clients at once, whose workers are simulated.

    python -m bench.made_pictures [--clients 64] [--side 1690] [--name made_pictures]

Each client reads slowly until all of them have the beginning of theirs, so that all pictures are
under way at once. Writes bench/results/NAME.json.
"""

import argparse
import asyncio
import base64
import io
import json
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx
from PIL import Image

from bench.compare.systems import machine
from bench.kit.usage import cpu_s, peak_rss_mib, reset_peak_rss, rss_mib
from starter.fleet import Fleet

RESULTS: Final = Path(__file__).parent / "results"
WAYS: Final = ("b64_json", "stream", "url")
WORKERS: Final = 2
NOISE_PIXELS: Final = 150
"""A side of the picture that is changed: what is drawn after noise is no small file."""
READ_BYTES: Final = 64 * 1024
READ_EVERY_S: Final = 2.0
"""A client that reads nothing for ten seconds is cut off."""
RECEIVED_BYTES: Final = 64 * 1024
"""Of a client's own buffer in the kernel, which else would hold a whole picture."""


def noise() -> str:
    """A picture of noise, as a data URL."""
    pixels = Random(1).randbytes(3 * NOISE_PIXELS**2)
    file = io.BytesIO()
    Image.frombytes("RGB", (NOISE_PIXELS, NOISE_PIXELS), pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


async def parts(http: httpx.AsyncClient, url: str, body: dict[str, Any]) -> AsyncIterator[bytes]:
    """The bytes of one client's picture, as its way has them."""
    way = body["response_format"]
    if way == "url":
        link = (await http.post(url, json=body)).raise_for_status().json()["data"][0]["url"]
        asked = http.stream("GET", link)
    else:
        wish = {"stream": True, "response_format": "b64_json"} if way == "stream" else {}
        asked = http.stream("POST", url, json=body | wish)
    async with asked as answer:
        answer.raise_for_status()
        async for part in answer.aiter_bytes(READ_BYTES):
            yield part


async def hand_out(url: str, clients: int, body: dict[str, Any]) -> dict[str, float]:
    """Have so many pictures under way at once, and then all of them fetched."""
    begun = 0
    everybody = asyncio.Event()
    transport = httpx.AsyncHTTPTransport(
        limits=httpx.Limits(max_connections=None),
        socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED_BYTES)],
    )

    async def client(http: httpx.AsyncClient, seed: int) -> int:
        nonlocal begun
        read, first = 0, True
        async for part in parts(http, url, body | {"seed": seed}):
            read += len(part)
            begun += first
            first = False
            if begun == clients:
                everybody.set()
            if not everybody.is_set():
                await asyncio.sleep(READ_EVERY_S)
        return read

    began = time.monotonic()
    async with httpx.AsyncClient(timeout=600, transport=transport) as http:
        asking = [asyncio.create_task(client(http, seed)) for seed in range(clients)]
        await everybody.wait()
        all_begun = time.monotonic()
        read = await asyncio.gather(*asking)
    return {
        "begun_s": all_begun - began,
        "fetched_s": time.monotonic() - all_begun,
        "mb_each": sum(read) / clients / 1e6,
    }


def measured(way: str, clients: int, side: int) -> dict[str, float]:
    """One way with a frontend of its own."""
    body = {
        "prompt": "noise",
        "size": f"{side}x{side}",
        "input_reference": noise(),
        "response_format": way,
    }
    with TemporaryDirectory() as folder:
        fleet = Fleet(Path(folder))
        try:
            pid = fleet.frontend().popen.pid
            for _ in range(WORKERS):
                fleet.worker(
                    *("--engine", "sim", "--image-diffusion-worker", "--sim-step-ms", "0"),
                    *("--served-model-name", "draws"),
                )
            fleet.wait_for_workers(WORKERS)
            url = f"{fleet.url}/v1/images/edits"
            asyncio.run(hand_out(url, 1, body))  # what is imported for the first one
            before, cpu_before = rss_mib(pid), cpu_s(pid)
            reset_peak_rss(pid)
            told = asyncio.run(hand_out(url, clients, body))
            return told | {
                "before_mib": before,
                "peak_mib": peak_rss_mib(pid),
                "after_mib": rss_mib(pid),
                "cpu_s": cpu_s(pid) - cpu_before,
            }
        finally:
            fleet.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--side", type=int, default=1_690)
    parser.add_argument("--name", default="made_pictures")
    args = parser.parse_args()
    report: dict[str, Any] = {"machine": machine(), "clients": args.clients, "ways": {}}
    for way in WAYS:
        report["ways"][way] = told = measured(way, args.clients, args.side)
        print(way, {name: round(value, 2) for name, value in told.items()}, flush=True)
    (RESULTS / f"{args.name}.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
