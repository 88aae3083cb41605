"""The `model` and `lora` sections of a run, and what a decoder is (`ModelConfig`)."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Literal, NamedTuple

from acim_jax.model.rope_scaling import Dynamic, Scaling

Dtype = Literal["float32", "bfloat16", "float16"]


@dataclasses.dataclass(frozen=True)
class Experts:
    """A feed-forward layer of experts, of which a router chooses some for each token.

    count: experts a layer; per_token: chosen for a token; width: of each, F of the axes.
    normalize: the chosen experts' probabilities are divided by their sum.
    """

    count: int
    per_token: int
    width: int
    normalize: bool

    def __post_init__(self) -> None:
        if not 1 <= self.per_token <= self.count:
            raise ValueError(
                f"per_token ({self.per_token}) must be between 1 and the number of experts "
                f"({self.count})."
            )


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """One decoder: RMSNorm, RoPE, grouped-query attention, SwiGLU. Families are its settings.

    family: the `model_type` it is written as; the model reads the other fields only.
    qkv_bias: biases of the q, k and v projections (Qwen2). qk_norm: RMSNorm over each head's
    queries and keys before the rotation (Qwen3). experts: in place of every layer's dense MLP.
    sliding_window: a query sees that many positions, its own included; the first
    `full_attention_layers` layers see all.
    rope_theta, rope_scaling: see `model/rope.py`. max_positions: the longest row.
    dtype is that of activations and of the cache, param_dtype that of the weights; norms, softmax
    and log-probs are float32 whatever they are. unroll: layers as a Python loop (small models on
    CPU decode faster) instead of a `lax.scan`. remat: recompute each block in the backward pass.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rope_theta: float = 10000.0
    rope_scaling: Scaling | None = None
    norm_eps: float = 1e-6
    tie_embeddings: bool = True
    qkv_bias: bool = True
    qk_norm: bool = False
    experts: Experts | None = None
    sliding_window: int | None = None
    full_attention_layers: int = 0
    max_positions: int = 32768
    family: str = "qwen2"
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"
    unroll: bool = False
    remat: bool = False

    def __post_init__(self) -> None:
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads ({self.num_heads}) must be a multiple of num_kv_heads "
                f"({self.num_kv_heads}): query heads share key/value heads in equal groups."
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim must be even for rotary positions, got {self.head_dim}.")
        if isinstance(self.rope_scaling, Dynamic) and self.head_dim < 4:
            raise ValueError(f"head_dim must be at least 4 for dynamic RoPE, got {self.head_dim}.")


@dataclasses.dataclass(frozen=True)
class ModelSource:
    """The `model` section of a run: which weights to start from, and how to run them.

    path: `tiny`, a Hugging Face folder, or a run folder. init: `pretrained` reads the weights,
    `random` takes only the folder's configuration and tokenizer and starts from nothing.
    dtype, param_dtype, unroll, remat override the folder's own (None keeps it). markup: `name` of a
    prompt template, and fields that override the folder's `acim.yaml` (docs/prompts.md).
    """

    path: str = "tiny"
    init: Literal["pretrained", "random"] = "pretrained"
    dtype: Dtype | None = None
    param_dtype: Dtype | None = None
    unroll: bool | None = None
    remat: bool | None = None
    markup: Mapping[str, str | int | bool | tuple[str, ...] | None] = dataclasses.field(
        default_factory=dict[str, str | int | bool | tuple[str, ...] | None]
    )


class Projection(NamedTuple):
    """A weight that can have an adapter: its place in a block, and how many of its axes are
    contracted with the input."""

    group: str
    name: str
    inputs: int


PROJECTIONS: dict[str, Projection] = {
    "q": Projection("attention", "w_q", 1),
    "k": Projection("attention", "w_k", 1),
    "v": Projection("attention", "w_v", 1),
    "o": Projection("attention", "w_o", 2),
    "gate": Projection("mlp", "w_gate", 1),
    "up": Projection("mlp", "w_up", 1),
    "down": Projection("mlp", "w_down", 1),
}


@dataclasses.dataclass(frozen=True)
class LoraConfig:
    """The `lora` section of a run: with it, adapters are trained and the model's weights are not.

    rank: r, the inner dimension of A·B. alpha: the adapters count α/r times. targets: the
    projections that get one.
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = tuple(PROJECTIONS)

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0:
            raise ValueError(
                f"rank must be at least 1 and alpha positive, got {self.rank} and {self.alpha}."
            )
        for target in self.targets:
            if target not in PROJECTIONS:
                raise ValueError(f"targets: {_unknown(target)}")
        if not self.targets or len(set(self.targets)) != len(self.targets):
            raise ValueError(
                f"targets must be distinct and at least one, got {list(self.targets)}; choose "
                f"from {', '.join(PROJECTIONS)}."
            )

    @property
    def scale(self) -> float:
        """α/r."""
        return self.alpha / self.rank


def _unknown(target: str) -> str:
    bare = target.removeprefix("w_").removesuffix("_proj")
    near = difflib.get_close_matches(bare, list(PROJECTIONS), 1, cutoff=0.3)
    hint = f'; did you mean "{near[0]}"?' if near else "."
    return f'"{target}" is no projection that can have an adapter: {", ".join(PROJECTIONS)}{hint}'
