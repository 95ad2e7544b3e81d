import pytest

from protocol.process.start_error import StartError
from workers.sim.settings import help_text, read_settings


def test_sglang_names_and_repeatable_faults_are_read() -> None:
    settings = read_settings(
        [
            "--dp-size",
            "2",
            "--page-size=32",
            "--sim-fault",
            "refuse",
            "--sim-fault",
            "slow=2",
            "--disable-radix-cache",
        ]
    )
    assert (
        settings.dp_size,
        settings.page_size,
        settings.sim_fault,
        settings.disable_radix_cache,
    ) == (2, 32, ("refuse", "slow=2"), True)


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KVMESH_SIM_SPEEDUP", "0")
    assert read_settings([]).sim_speedup == 0.0
    assert read_settings(["--sim-speedup", "3"]).sim_speedup == 3.0


@pytest.mark.parametrize(
    "argv",
    [
        ["--tp-size", "2"],
        ["--page-size", "0"],
        ["--chunked-prefill-size", "8"],
        ["--context-length", "0"],
        ["--sim-speedup", "-1"],
        ["--sim-speedup", "nan"],
        ["--dp-size", "100000"],
        ["--max-total-tokens", "16"],
        ["--decode-log-interval", "0"],
    ],
)
def test_an_argument_it_does_not_have_or_cannot_use_is_one_line(argv: list[str]) -> None:
    with pytest.raises(StartError) as raised:
        read_settings(argv)
    assert argv[0] in str(raised.value)
    assert "\n" not in str(raised.value)


def test_every_setting_has_help() -> None:
    assert "--sim-output-tokens-mean" in help_text()
