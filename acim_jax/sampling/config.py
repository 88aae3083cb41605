"""The `sampling` section of a run."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """Shapes of the sampler's programs, and the temperature of training rollouts.

    slots: rows that decode at once. max_length: tokens a row can hold, prompt and interpreter
    output included. chunk: decode steps between two looks of the host. prefill_rows,
    prefill_buckets: rows and widths of the program that appends given tokens; longer texts are
    appended in several pieces of the largest width. temperature: of training rollouts; evaluation
    states its own.
    """

    slots: int = 64
    max_length: int = 192
    chunk: int = 32
    prefill_rows: int = 16
    prefill_buckets: tuple[int, ...] = (16, 48)
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for name in ("slots", "max_length", "chunk", "prefill_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not self.prefill_buckets or sorted(set(self.prefill_buckets)) != list(
            self.prefill_buckets
        ):
            raise ValueError(
                f"prefill_buckets must be distinct widths in rising order, got "
                f"{list(self.prefill_buckets)}."
            )
        if self.prefill_buckets[0] < 1:
            raise ValueError(f"prefill_buckets must be positive, got {self.prefill_buckets[0]}.")
        if self.temperature <= 0:
            raise ValueError(
                f"temperature of training rollouts must be positive, got {self.temperature}: "
                "greedy rollouts have no log-probability to learn from."
            )
