"""A type of worker that is one file and one row is served like those of the project."""

import subprocess
import sys

from tests.kit.fleet import Fleet

PROMPT = "kvmesh is a server"


def test_a_new_type_of_worker_is_served(fleet: Fleet) -> None:
    fleet.frontend()
    fleet.start("tests.fleet.echo_worker", "--engine", "sim", "--frontend", fleet.mesh, "--echo")
    fleet.wait_for_workers(1)
    (listed,) = fleet.get("/health")[1]["workers"]
    assert (listed["engine"], listed["service"], listed["stage"]) == ("echo", "text", "whole")
    with fleet.client() as client:
        answer = client.completions.create(model="echo", prompt=PROMPT, max_tokens=20)
    assert answer.choices[0].text == PROMPT


def test_the_rows_of_the_others_are_chosen_as_before(fleet: Fleet) -> None:
    fleet.frontend()
    fleet.start("tests.fleet.echo_worker", "--engine", "sim", "--frontend", fleet.mesh)
    fleet.wait_for_workers(1)
    assert fleet.get("/health")[1]["workers"][0]["engine"] == "sim"


def test_help_tells_the_arguments_of_the_kind_that_is_asked_for() -> None:
    asked = [sys.executable, "-m", "tests.fleet.echo_worker", "--engine", "sim", "--echo", "--help"]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert "--worker-id" in told
    assert told.endswith("--echo  say the prompt\n")
