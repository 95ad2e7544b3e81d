"""A step takes as long as the polynomial fit published with NVIDIA's mocker says (one H100-class
GPU, a model of about 8 billion weights).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class TimingModel:
    """A TimingModel gives step durations in ms, quadratic in the batch's new tokens (prefill) or in
    KV use (decode).

    Source: polynomial fit published with NVIDIA's mocker (dynamo, lib/mocker).
    """

    prefill: tuple[float, float, float] = (4.209989e-07, 1.518344e-02, 1.650142e01)
    """These are the coefficients of t², t, 1, where t is the number of new tokens of the batch."""
    decode: tuple[float, float, float] = (-25.74, 54.01, 5.74)
    """These are the coefficients of u², u, 1, where u in [0, 1] is the share of the KV cache in
    use.
    """
    decode_ms_min: float = 1.0
    encode: tuple[float, float] = (0.11, 20.0)
    """These are the coefficients of t, 1, where t is the number of tokens of the pictures that are
    encoded together: one of 1,024 takes 133 ms on an H200 (bench/results/media.json).
    """

    def prefill_ms(self, new_tokens: int, seen_tokens: int = 0) -> float:
        """Returns the duration in ms of a prefill step that computes `new_tokens` tokens over all
        its requests, and encodes their pictures of `seen_tokens` tokens before.
        """
        a, b, c = self.prefill
        return (a * new_tokens + b) * new_tokens + c + self.encode_ms(seen_tokens)

    def encode_ms(self, tokens: int) -> float:
        """Returns the duration in ms in which pictures of so many tokens are encoded, whoever does
        it.
        """
        a, b = self.encode
        return a * tokens + b if tokens else 0.0

    def decode_ms(self, kv_use: float) -> float:
        """Returns the duration in ms of a decode step, one token for each running request."""
        a, b, c = self.decode
        return max(self.decode_ms_min, (a * kv_use + b) * kv_use + c)
