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

    def prefill_ms(self, new_tokens: int) -> float:
        """Returns the duration in ms of a prefill step that computes `new_tokens` tokens over all
        its requests.
        """
        a, b, c = self.prefill
        return (a * new_tokens + b) * new_tokens + c

    def decode_ms(self, kv_use: float) -> float:
        """Returns the duration in ms of a decode step, one token for each running request."""
        a, b, c = self.decode
        return max(self.decode_ms_min, (a * kv_use + b) * kv_use + c)
