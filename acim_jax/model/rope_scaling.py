"""Ways of stretching rotary positions over longer texts, as settings; `rope.py` computes them."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Linear:
    """Positions divided by `factor` (arXiv:2306.15595)."""

    factor: float


@dataclasses.dataclass(frozen=True)
class Dynamic:
    """θ grows with the length of the text beyond `original_positions` ("dynamic NTK").

    Where we differ: transformers takes the longest length in the call, so a token's log-prob
    would depend on what follows it and on its neighbours in the batch. Here the length is the
    token's own position + 1, which is what transformers' generation with a cache computes for a
    prompt within `original_positions`; up to there all of them are the plain frequencies.
    """

    factor: float
    original_positions: int


@dataclasses.dataclass(frozen=True)
class Llama3:
    """Long waves divided by `factor`, short ones kept, between them a mixture (Llama 3.1)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_positions: int


@dataclasses.dataclass(frozen=True)
class Yarn:
    """A ramp over the dimensions from kept to divided frequencies (arXiv:2309.00071).

    beta_fast, beta_slow: turns within `original_positions` where the ramp begins and ends;
    truncate: to whole dimensions. cos and sin are multiplied by `attention_scale`.
    """

    factor: float
    original_positions: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True

    @property
    def attention_scale(self) -> float:
        """`attention_factor`, else what `factor` and the two mscales make of it."""
        if self.attention_factor is not None:
            return self.attention_factor
        if self.mscale and self.mscale_all_dim:
            return self._scale(self.mscale) / self._scale(self.mscale_all_dim)
        return self._scale(1.0)

    def _scale(self, mscale: float) -> float:
        return 1.0 if self.factor <= 1 else 0.1 * mscale * math.log(self.factor) + 1.0


Scaling = Linear | Dynamic | Llama3 | Yarn
