"""Attackers, in a process of their own that takes only what of the machine nobody else wants."""

import contextlib
import http.client
import itertools
import json
import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator
from multiprocessing.connection import Connection
from typing import Final

from bench.attacks.bodies import Attack

NICE: Final = 19
ANSWER_S_MAX: Final = 60.0


@contextlib.contextmanager
def attacking(port: int, attack: Attack) -> Generator[Counter[str]]:
    """Has the clients of an attack ask as long as the block runs; they leave at its end, whatever
    they still wait for.

    Yields:
        how many answers there were of each status, complete behind the block.
    """
    answers: Counter[str] = Counter()
    anew = multiprocessing.get_context("spawn")  # a fork would have our threads' locks
    ours, theirs = anew.Pipe()
    crowd = anew.Process(target=_attack, args=(port, attack, theirs), daemon=True)
    crowd.start()
    try:
        ours.recv()
        yield answers
        ours.send("enough")
        answers.update(ours.recv())
    finally:
        crowd.kill()
        crowd.join()


def _attack(port: int, attack: Attack, told: Connection) -> None:
    os.nice(NICE)
    answers: Counter[str] = Counter()
    bodies = itertools.cycle(attack.bodies)
    for _ in range(attack.clients):
        threading.Thread(target=_client, args=(port, bodies, answers), daemon=True).start()
    told.send("begun")
    told.recv()
    told.send(dict(answers))
    time.sleep(ANSWER_S_MAX)  # until it is killed, and its connections break


def _client(port: int, bodies: Iterator[bytes], answers: Counter[str]) -> None:
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S_MAX)
        try:
            connection.request(
                "POST",
                "/v1/chat/completions",
                next(bodies),
                {"content-type": "application/json"},
            )
            answer = connection.getresponse()
            code = "" if answer.status == 200 else _code(answer.read())
            answers[f"{answer.status} {code}".strip()] += 1
        except (OSError, http.client.HTTPException) as error:
            answers[type(error).__name__] += 1
        finally:
            connection.close()


def _code(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["error"]["code"])
    except (ValueError, KeyError):
        return "?"
