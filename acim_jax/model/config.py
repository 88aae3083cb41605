"""What a decoder is (`ModelConfig`) and where its starting weights come from (`ModelSource`)."""

import dataclasses
from typing import Literal

Dtype = Literal["float32", "bfloat16", "float16"]


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A Qwen2-architecture decoder: RMSNorm, RoPE, grouped-query attention, SwiGLU.

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
    norm_eps: float = 1e-6
    tie_embeddings: bool = True
    qkv_bias: bool = True
    max_positions: int = 32768
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


@dataclasses.dataclass(frozen=True)
class ModelSource:
    """The `model` section of a run: which weights to start from, and how to run them.

    path: `tiny`, a Hugging Face folder, or a run folder. init: `pretrained` reads the weights,
    `random` takes only the folder's configuration and tokenizer and starts from nothing.
    dtype, param_dtype, unroll, remat override the folder's own (None keeps it).
    """

    path: str = "tiny"
    init: Literal["pretrained", "random"] = "pretrained"
    dtype: Dtype | None = None
    param_dtype: Dtype | None = None
    unroll: bool | None = None
    remat: bool | None = None
