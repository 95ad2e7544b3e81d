"""LoRA adapters on real SGLang: they share no blocks, and make room for each other."""

from pathlib import Path

import openai
import pytest

from starter.ports import free_port
from tests.fault.system_pages import SystemPages
from tests.fleet.lora_adapter import write_adapter
from tests.fleet.real_fleets import RealFleets
from tests.fleet.test_adapters import LOAD, UNLOAD, post
from tests.fleet.test_kv_real_sglang import CACHE_TOKENS, NO_GRAMMARS, PAGE, ask, prompt, settle
from tests.kit.fleet import Fleet

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(500)]


@pytest.fixture(scope="module")
def pages() -> SystemPages:
    """Of the worker with adapters."""
    return SystemPages(free_port())


@pytest.fixture(scope="module")
def fleet_with_adapters(
    real_fleets: RealFleets, tmp_path_factory: pytest.TempPathFactory, pages: SystemPages
) -> Fleet:
    """One worker with two LoRA adapters of the demo model, as many as its memory has room for, and
    a queue of one.
    """
    directory = tmp_path_factory.mktemp("adapters")
    adapters = [
        f"{name}={write_adapter(directory / name, seed)}"
        for seed, name in enumerate(("one", "two"))
    ]
    lora = ("--enable-lora", "--max-loras-per-batch", "2", "--max-loaded-loras", "2")
    sizes = (
        *("--max-queued-requests", "1", "--max-total-tokens", str(CACHE_TOKENS)),
        *("--kv-block-size", str(PAGE), "--system-port", str(pages.port), *NO_GRAMMARS),
    )
    return real_fleets.of((*lora, *sizes, "--lora-paths", *adapters))


def test_adapters_and_salts_do_not_share_and_are_told_apart(fleet_with_adapters: Fleet) -> None:
    tokens = prompt(100, 1)
    names: list[dict[str, str]] = [
        {},
        {"lora_path": "one"},
        {"lora_path": "two"},
        {"cache_salt": "x"},
        {"lora_path": "one", "cache_salt": "x"},
    ]
    with fleet_with_adapters.client() as client:
        for name in names:
            settle(fleet_with_adapters)
            assert ask(fleet_with_adapters, client, tokens, **name)[1:] == (0, 0), name
            settle(fleet_with_adapters)
            assert ask(fleet_with_adapters, client, tokens, **name)[1:] == (96, 96), name
        with pytest.raises(openai.NotFoundError, match="nobody"):
            ask(fleet_with_adapters, client, tokens, lora_path="nobody")


@pytest.mark.last
def test_an_adapter_that_made_room_for_another_comes_back_and_can_be_unloaded(
    fleet_with_adapters: Fleet, pages: SystemPages
) -> None:
    path = write_adapter(fleet_with_adapters.directory / "three", 2)
    load_three = LOAD, {"lora_name": "three", "lora_path": str(path)}
    with fleet_with_adapters.client() as client:
        assert post(pages, *load_three)[0] == 200
        fleet_with_adapters.wait_until(
            lambda: len(client.models.list().data) == 4, "the model and three adapters are listed"
        )
        # each of them is loaded again for this
        for seed, name in enumerate(("one", "two", "three", "one"), 2):
            ask(fleet_with_adapters, client, prompt(100, seed), lora_path=name)
        for name in ("two", "one", "three"):
            assert post(pages, UNLOAD, {"lora_name": name})[0] == 200
        assert post(pages, *load_three)[1]["loaded_adapters"] == ["three"]


def test_the_adapters_are_those_of_this_file(tmp_path: Path) -> None:
    """Two seeds, two adapters: equal ones would prove nothing above."""
    one, two = (write_adapter(tmp_path / name, seed) for seed, name in enumerate(("one", "two")))
    assert (one / "adapter_model.safetensors").read_bytes() != (
        two / "adapter_model.safetensors"
    ).read_bytes()
