import pytest

from workers.sim.timing import TimingModel


def test_prefill_times_are_those_of_the_published_fit() -> None:
    timing = TimingModel()
    assert timing.prefill_ms(0) == pytest.approx(16.50142)
    assert timing.prefill_ms(1_000) == pytest.approx(16.50142 + 15.18344 + 0.4209989)
    assert timing.prefill_ms(8_192) == pytest.approx(169.136, abs=0.01)


def test_decode_times_are_those_of_the_published_fit() -> None:
    timing = TimingModel()
    assert timing.decode_ms(0.0) == pytest.approx(5.74)
    assert timing.decode_ms(0.5) == pytest.approx(-25.74 * 0.25 + 54.01 * 0.5 + 5.74)
    assert timing.decode_ms(1.0) == pytest.approx(34.01)


def test_a_decode_step_never_takes_less_than_its_floor() -> None:
    assert TimingModel(decode=(0.0, 0.0, 0.2)).decode_ms(0.3) == 1.0


def test_pictures_take_as_long_whoever_encodes_them() -> None:
    timing = TimingModel(encode=(0.5, 20.0))
    assert timing.encode_ms(0) == 0.0
    assert timing.encode_ms(100) == 70.0
    assert timing.prefill_ms(200, 100) == timing.prefill_ms(200) + 70.0
