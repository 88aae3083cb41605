"""The `sampling` section of a run."""

from typing import Literal

from acim_jax.section import AtLeastOne, NotNegative, Widths, section


@section
class SamplingConfig:
    """Shapes of the sampler's compiled functions, and the distribution of training rollouts.

    Evaluation states its own distribution.
    """

    slots: AtLeastOne = 64
    """Conversations that decode at once, in every process of a job."""
    spare: NotNegative | None = None
    """Conversations held beside them, waiting for a slot or for an interpreter; null is half as
    many as slots."""
    max_length: AtLeastOne = 2048
    """Tokens of a conversation, prompt and interpreter output included."""
    chunk: AtLeastOne = 8
    """Decode steps on the device before the host looks at the new tokens."""
    prefill_rows: AtLeastOne = 16
    """Rows of the functions that append given tokens; each comes with a quarter of the rows too."""
    prefill_buckets: Widths = (128, 512)
    """Widths of the functions that append given tokens. Longer texts are appended in several pieces
    of the largest width."""
    page_size: AtLeastOne = 32
    """Tokens of a cache page."""
    kv_cache: Literal["model", "int8"] = "model"
    """`model` keeps keys and values in the model's dtype; `int8` in a quarter to a half of that,
    with log-probs that differ (docs/performance.md)."""
    temperature: float = 1.0
    """Of training rollouts."""
    top_k: int = 0
    """The k best tokens only; 0 is off."""
    top_p: float = 1.0
    """The fewest best tokens that hold this probability; 1 is off."""
    min_p: float = 0.0
    """Tokens of at least this share of the best one's probability; 0 is off."""

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(
                f"temperature of training rollouts must be positive, got {self.temperature}: "
                "greedy rollouts have no log-probability to learn from."
            )
        check_truncation(self.top_k, self.top_p, self.min_p)

    def rows(self, shards: int = 1) -> int:
        """Conversations that each of `shards` parts of the batch holds at once."""
        spare = self.slots // 2 if self.spare is None else self.spare
        return self.slots // shards + -(-spare // shards)

    def check_shards(self, shards: int) -> None:
        """ValueError for slots that `shards` parts of the batch cannot share evenly."""
        if self.slots % shards:
            raise ValueError(
                f"sampling.slots is {self.slots}, but this mesh splits rows into {shards} equal "
                f"parts (data × fsdp); make it a multiple of {shards}, or change mesh."
            )

    @property
    def pages_per_row(self) -> int:
        return -(-self.max_length // self.page_size)

    def pages(self, shards: int = 1) -> int:
        """Pages of one shard: every row full, a partly filled prompt page each, and the trash page.

        Rows of one prompt share its full pages, so that pages never run out.
        """
        return 1 + self.rows(shards) * (self.pages_per_row + 1)


def check_truncation(top_k: int, top_p: float, min_p: float) -> None:
    """ValueError for values that are no truncation."""
    if top_k < 0:
        raise ValueError(f"top_k must be 0 (off) or positive, got {top_k}.")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1 (off), got {top_p}.")
    if not 0 <= min_p < 1:
        raise ValueError(f"min_p must be at least 0 (off) and below 1, got {min_p}.")
