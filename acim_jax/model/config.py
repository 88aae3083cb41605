"""The `model` and `lora` sections of a run, and what a decoder is (`ModelConfig`)."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Literal, NamedTuple

from acim_jax.model.rope_scaling import Dynamic, Scaling
from acim_jax.section import AtLeastOne, Positive, section

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
    and log-probs are float32 whatever they are. unroll: layers as a Python loop instead of a
    `lax.scan`; None is for decoding on a CPU only. remat: recompute each block in the backward
    pass.
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
    unroll: bool | None = None
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


@section
class ModelSource:
    """Which weights to start from, and how to run them."""

    path: str = "tiny"
    """`tiny`, a Hugging Face folder, a run folder, or a hub name."""
    init: Literal["pretrained", "random"] = "pretrained"
    """`pretrained` reads the weights; `random` takes only configuration and tokenizer, and starts
    from nothing."""
    dtype: Dtype | None = None
    """Of activations and cache; null is the folder's own."""
    param_dtype: Dtype | None = None
    """Of the weights; null is the folder's own."""
    unroll: bool | None = None
    """Layers as a Python loop, which takes longer to compile. null: for decoding on a CPU only,
    where it is faster and takes a second copy of the layers' weights."""
    remat: bool | None = None
    """Whether the backward pass recomputes each block; null is the folder's own."""
    markup: Mapping[str, str | int | bool | tuple[str, ...] | None] = dataclasses.field(
        default_factory=dict[str, str | int | bool | tuple[str, ...] | None]
    )
    """`name` of a prompt template, and fields that override the folder's `acim.yaml`
    (docs/prompts.md)."""


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


@section
class LoraConfig:
    """Low-rank adapters: with this section they are trained, and the model's weights are not."""

    rank: AtLeastOne = 8
    """r, the inner dimension of A·B."""
    alpha: Positive = 16.0
    """The adapters count α/r times."""
    targets: tuple[str, ...] = tuple(PROJECTIONS)
    """The projections that get an adapter."""

    def __post_init__(self) -> None:
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
