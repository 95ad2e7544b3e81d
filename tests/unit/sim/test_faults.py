import pytest

from protocol.process.start_error import StartError
from workers.sim.faults import Faults, read_faults


class Calls:
    def __init__(self) -> None:
        self.crashes = 0
        self.blocks = 0

    def faults(self, *specs: str) -> Faults:
        return read_faults(specs, Faults(crash=self.crash, block=self.block))

    def crash(self) -> None:
        self.crashes += 1

    def block(self) -> None:
        self.blocks += 1


@pytest.fixture
def calls() -> Calls:
    return Calls()


def test_a_crash_comes_with_the_request_after_the_nth(calls: Calls) -> None:
    faults = calls.faults("crash-after-requests=2")
    assert [(faults.on_request(), calls.crashes)[1] for _ in range(3)] == [0, 0, 1]


def test_a_blocked_loop_comes_with_the_request_after_the_nth(calls: Calls) -> None:
    faults = calls.faults("hang-loop-after-requests=0")
    assert calls.blocks == 0
    faults.on_request()
    assert calls.blocks == 1


def test_tokens_hang_or_crash_once_there_were_enough(calls: Calls) -> None:
    faults = calls.faults("hang-after-tokens=5", "crash-after-tokens=7")
    faults.on_tokens(4)
    assert not faults.hung
    faults.on_tokens(2)
    assert (faults.hung, calls.crashes) == (True, 0)
    faults.on_tokens(1)
    assert calls.crashes == 1


def test_a_hang_armed_with_zero_is_now_and_clear_ends_it(calls: Calls) -> None:
    faults = calls.faults()
    faults.arm("hang-after-tokens=0")
    faults.arm("slow=2.5")
    assert (faults.hung, faults.slow) == (True, 2.5)
    faults.arm("clear")
    assert (faults.hung, faults.slow) == (False, None)


def test_counts_begin_when_the_fault_is_armed(calls: Calls) -> None:
    faults = calls.faults()
    faults.on_request()
    faults.on_tokens(100)
    faults.arm("crash-after-requests=1")
    faults.arm("crash-after-tokens=1")
    faults.on_request()
    assert calls.crashes == 0
    faults.on_tokens(1)
    assert calls.crashes == 1


def test_every_nth_request_fails_or_all_are_refused(calls: Calls) -> None:
    faults = calls.faults("error-every=3")
    answers = [faults.on_request() for _ in range(6)]
    assert [failure and failure.code for failure in answers] == [
        None,
        None,
        "engine_fault",
        None,
        None,
        "engine_fault",
    ]
    faults.arm("refuse")
    answers = [faults.on_request() for _ in range(2)]
    assert [failure and failure.code for failure in answers] == ["overloaded", "overloaded"]


def test_batches_of_kv_events_are_told_by_their_number_and_clear_ends_it(calls: Calls) -> None:
    faults = calls.faults()
    assert faults.on_kv_batch(0) is None
    for kind in ("kv-drop", "kv-duplicate", "kv-swap"):
        faults.arm(f"{kind}=3")
        assert [faults.on_kv_batch(number) for number in range(5)] == [kind, None, None, kind, None]
        faults.arm("clear")
        assert faults.on_kv_batch(0) is None


def test_magic_seeds_crash_or_block_and_others_do_nothing(calls: Calls) -> None:
    faults = calls.faults()
    assert [faults.on_seed(seed) for seed in (1, 770_001, 770_002, 770_003, 770_004)] == [
        None,
        "error",
        "crash",
        "mute",
        "hang-loop",
    ]
    assert (calls.crashes, calls.blocks) == (1, 1)


NO_FAULTS = (
    "",
    "nonsense",
    "slow",
    "slow=x",
    "slow=0",
    "slow=inf",
    "crash-after-requests",
    "error-every=0",
    "error-every=-1",
    "refuse=1",
    "kv-drop",
    "kv-swap=0",
    "kv-duplicate=x",
)


@pytest.mark.parametrize("spec", NO_FAULTS)
def test_what_is_no_fault_is_a_start_error(calls: Calls, spec: str) -> None:
    with pytest.raises(StartError, match="--sim-fault"):
        calls.faults(spec)


def test_an_engine_dies_once_and_takes_no_step_any_more(calls: Calls) -> None:
    faults = calls.faults("engine-death-after-tokens=3")
    deaths: list[bool] = []
    faults.on_engine_death = lambda: deaths.append(faults.hung)
    for _ in range(3):
        faults.on_tokens(2)
    assert deaths == [True]
    assert calls.crashes == 0


def test_a_hang_with_a_length_comes_once(calls: Calls) -> None:
    faults = calls.faults("hang-after-tokens=3", "hang-s=0.5")
    hangs: list[float | None] = []
    faults.on_hang = lambda: hangs.append(faults.hang_s)
    faults.on_tokens(4)
    assert (faults.hung, hangs) == (True, [0.5])
    faults.hung = False  # as the engine does, half a second later
    faults.on_tokens(4)
    assert (faults.hung, hangs) == (False, [0.5])
