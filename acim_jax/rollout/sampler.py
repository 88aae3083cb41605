"""What sampling needs beside the weights; it stays the same from call to call."""

import dataclasses
import functools
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from acim_jax.markup import Markup
from acim_jax.model.config import ModelConfig
from acim_jax.sampling.config import SamplingConfig
from acim_jax.sharding import axes

#: Bits of a token's flags and of a row's `halts`: it ends a response; the host must look at it,
#: since it may close a program; or since it may open one.
END, HALT, OPEN = np.uint8(1), np.uint8(2), np.uint8(4)


@runtime_checkable
class Tokens(Protocol):
    """What the sampler needs of a tokenizer (`acim_jax.markup.tokenizer.Tokenizer` has it)."""

    @property
    def eos_id(self) -> int: ...
    def encode(self, text: str) -> np.ndarray: ...
    def decode(self, token_ids: np.ndarray) -> str: ...
    def prompt_ids(self, question: str, markup: Markup) -> np.ndarray: ...
    def output_ids(self, text: str, markup: Markup) -> np.ndarray: ...
    def halting_ids(self, markup: Markup) -> np.ndarray: ...
    def opening_ids(self, markup: Markup) -> np.ndarray: ...
    def stop_ids(self, markup: Markup) -> np.ndarray: ...
    def text_stops(self, markup: Markup) -> tuple[str, ...]: ...
    def closed_program(self, token_ids: np.ndarray, markup: Markup) -> str | None: ...
    def opens_program(self, token_ids: np.ndarray, markup: Markup) -> bool: ...
    def ends_response(self, token_ids: np.ndarray, markup: Markup) -> bool: ...


@dataclasses.dataclass(frozen=True, eq=False)
class Sampler:
    """All that stays the same between calls of `converse`.

    ValueError for slots that the layout's batch axes cannot share evenly.
    """

    model: ModelConfig
    config: SamplingConfig
    tokenizer: Tokens
    markup: Markup
    layout: axes.Layout | None = None

    def __post_init__(self) -> None:
        self.config.check_shards(1 if self.layout is None else self.layout.shards("batch"))

    @functools.cached_property
    def ends(self) -> np.ndarray:
        """bool [V], as wide as the model's (padded) vocabulary: tokens that end a response."""
        ends = np.zeros((self.model.vocab_size,), np.bool_)
        ends[self.tokenizer.stop_ids(self.markup)] = True
        return ends

    @functools.cached_property
    def flags(self) -> jax.Array:
        """uint8 [V]: the END, HALT and OPEN bits of every token."""
        flags = END * self.ends.astype(np.uint8)
        for bit, halting in (
            (HALT, self.tokenizer.halting_ids(self.markup)),
            (OPEN, self.tokenizer.opening_ids(self.markup)),
        ):
            flags[: len(halting)] |= bit * halting.astype(np.uint8)
        return jnp.asarray(flags)
