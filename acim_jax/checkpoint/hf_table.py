"""Names and axes of Hugging Face checkpoints, as one table per family, read in both directions.

A weight says which tensor is which parameter and how their axes correspond, in the letters of the
dimension key (M: an expert's width): `(N H) D -> D N H` is a projection stored as [N·H, D] that we
keep as [D, N, H]. Import and export, shapes and the slices that a device needs all follow from
that one string.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Mapping

import numpy as np

from acim_jax.model.config import ModelConfig

Index = tuple[slice, ...]


@dataclasses.dataclass(frozen=True)
class Weight:
    """One parameter at `path`, and the tensors that hold it.

    A `{l}` in `name` makes it one tensor a layer, an `{e}` one an expert: they are stacked on our
    first axes, in this order. axes: the file's -> ours. sizes: of the letters, in a given model.
    """

    name: str
    path: str
    axes: str
    sizes: Mapping[str, int] = dataclasses.field(default_factory=dict[str, int], compare=False)

    @property
    def stack_shape(self) -> tuple[int, ...]:
        """The parameter's first axes, along which its tensors are stacked: (L), (L, E) or ()."""
        return tuple(self.sizes[letter.upper()] for letter in self._stacked)

    @property
    def tensor_names(self) -> tuple[str, ...]:
        """The weight's tensors, in the order of the parameter's stacking axes."""
        places = (zip(self._stacked, at, strict=True) for at in np.ndindex(*self.stack_shape))
        return tuple(self.name.format(**dict(place)) for place in places)

    @property
    def tensor_shape(self) -> tuple[int, ...]:
        """The shape of each of the weight's tensors in the file."""
        products, _ = _parse(self.axes)
        return tuple(math.prod(self.sizes[a] for a in product) for product in products)

    @property
    def param_shape(self) -> tuple[int, ...]:
        """The shape of the weight's parameter, stacking axes included."""
        _, ours = _parse(self.axes)
        return self.stack_shape + tuple(self.sizes[a] for a in ours)

    def read(self, fetch: Callable[[Index], np.ndarray], index: Index) -> np.ndarray:
        """The part `index` of one of our arrays (without its stacking axes), from a file's tensor.

        fetch returns a slice of the file's tensor. Along a product axis such as `(N H)` the slice
        covers whole steps of the leading letter.
        """
        products, ours = _parse(self.axes)
        bounds = {a: s.indices(self.sizes[a])[:2] for a, s in zip(ours, index, strict=True)}
        slices: list[slice] = []
        shape: list[int] = []
        inner: list[slice] = []
        for leading, *minor in products:
            step = math.prod(self.sizes[a] for a in minor)
            start, stop = bounds[leading]
            slices.append(slice(start * step, stop * step))
            shape += [stop - start, *(self.sizes[a] for a in minor)]
            inner += [slice(None), *(slice(*bounds[a]) for a in minor)]
        part = fetch(tuple(slices)).reshape(shape)[tuple(inner)]
        letters = sum(products, ())
        return part.transpose([letters.index(a) for a in ours])

    def write(self, array: np.ndarray) -> np.ndarray:
        """The file's tensor of one of our arrays (without its stacking axes): `read`'s inverse."""
        products, ours = _parse(self.axes)
        flat = array.transpose([ours.index(a) for product in products for a in product])
        return np.ascontiguousarray(flat.reshape(self.tensor_shape))

    @property
    def _stacked(self) -> str:
        return "".join(letter for letter in "le" if f"{{{letter}}}" in self.name)


_LAYER = "model.layers.{l}."
_EXPERT = _LAYER + "mlp.experts.{e}."

_OUTER = (
    Weight("model.embed_tokens.weight", "embed/embedding", "V D -> V D"),
    Weight("model.norm.weight", "final_norm/scale", "D -> D"),
)
_ATTENTION = (
    Weight(_LAYER + "input_layernorm.weight", "blocks/attention_norm/scale", "D -> D"),
    Weight(_LAYER + "self_attn.q_proj.weight", "blocks/attention/w_q", "(N H) D -> D N H"),
    Weight(_LAYER + "self_attn.k_proj.weight", "blocks/attention/w_k", "(K H) D -> D K H"),
    Weight(_LAYER + "self_attn.v_proj.weight", "blocks/attention/w_v", "(K H) D -> D K H"),
    Weight(_LAYER + "self_attn.o_proj.weight", "blocks/attention/w_o", "D (N H) -> N H D"),
    Weight(_LAYER + "post_attention_layernorm.weight", "blocks/mlp_norm/scale", "D -> D"),
)
_BIASES = (
    Weight(_LAYER + "self_attn.q_proj.bias", "blocks/attention/b_q", "(N H) -> N H"),
    Weight(_LAYER + "self_attn.k_proj.bias", "blocks/attention/b_k", "(K H) -> K H"),
    Weight(_LAYER + "self_attn.v_proj.bias", "blocks/attention/b_v", "(K H) -> K H"),
)
_HEAD_NORMS = (
    Weight(_LAYER + "self_attn.q_norm.weight", "blocks/attention/q_norm/scale", "H -> H"),
    Weight(_LAYER + "self_attn.k_norm.weight", "blocks/attention/k_norm/scale", "H -> H"),
)
_MLP = (
    Weight(_LAYER + "mlp.gate_proj.weight", "blocks/mlp/w_gate", "F D -> D F"),
    Weight(_LAYER + "mlp.up_proj.weight", "blocks/mlp/w_up", "F D -> D F"),
    Weight(_LAYER + "mlp.down_proj.weight", "blocks/mlp/w_down", "D F -> F D"),
)
_EXPERTS = (
    Weight(_LAYER + "mlp.gate.weight", "blocks/moe/router", "E D -> D E"),
    Weight(_EXPERT + "gate_proj.weight", "blocks/moe/w_gate", "M D -> D M"),
    Weight(_EXPERT + "up_proj.weight", "blocks/moe/w_up", "M D -> D M"),
    Weight(_EXPERT + "down_proj.weight", "blocks/moe/w_down", "D M -> M D"),
)
_UNTIED = (Weight("lm_head.weight", "unembed/kernel", "V D -> D V"),)
#: Tensors that a file with tied embeddings may hold once more, and what they must be equal to.
TWINS = {"lm_head.weight": "model.embed_tokens.weight"}
_BUFFER = re.compile(
    r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.(inv_freq|cos_cached|sin_cached)"
    r"|model\.layers\.\d+\.self_attn\.masked_bias"
)


def is_buffer(name: str) -> bool:
    """Whether a tensor follows from `config.json`: tables of RoPE and the mask's constant, which
    earlier versions of transformers wrote, and which no version reads."""
    return bool(_BUFFER.fullmatch(name))


@dataclasses.dataclass(frozen=True)
class Family:
    """How one `model_type` is written.

    qkv_bias, qk_norm, experts: what all models of the family have or have not. max_positions,
    kv_heads, head_dim: what transformers takes where `config.json` leaves them out; None for as
    many as heads, and for hidden_size / heads.
    """

    model_type: str
    architecture: str
    max_positions: int
    kv_heads: int | None
    head_dim: int | None = None
    qkv_bias: bool = False
    qk_norm: bool = False
    experts: bool = False

    def weights_of(self, config: ModelConfig) -> tuple[Weight, ...]:
        """The weights that a model of this configuration has; each is used exactly once."""
        weights = _OUTER + _ATTENTION
        weights += (_BIASES if self.qkv_bias else ()) + (_HEAD_NORMS if self.qk_norm else ())
        weights += _EXPERTS if self.experts else _MLP
        weights += () if config.tie_embeddings else _UNTIED
        sizes = _sizes(config)
        return tuple(dataclasses.replace(weight, sizes=sizes) for weight in weights)


#: Supported `model_type`s.
FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        Family("llama", "LlamaForCausalLM", 2048, None),
        Family("mistral", "MistralForCausalLM", 131072, 8),
        Family("qwen2", "Qwen2ForCausalLM", 32768, 32, qkv_bias=True),
        Family("qwen3", "Qwen3ForCausalLM", 32768, 32, head_dim=128, qk_norm=True),
        Family("qwen3_moe", "Qwen3MoeForCausalLM", 32768, 4, qk_norm=True, experts=True),
    )
}


def family_of(config: ModelConfig) -> Family:
    """The family that a model is written as; ValueError for a setting that it does not have."""
    if config.family not in FAMILIES:
        raise ValueError(f"family {config.family!r} is not one of {', '.join(sorted(FAMILIES))}.")
    family = FAMILIES[config.family]
    for setting, found in (
        ("qkv_bias", config.qkv_bias),
        ("qk_norm", config.qk_norm),
        ("experts", config.experts is not None),
    ):
        if found != getattr(family, setting):
            raise ValueError(
                f"A model of family {config.family!r} always has {setting}: "
                f"{getattr(family, setting)}, but the model to be written has {found}."
            )
    return family


def _sizes(config: ModelConfig) -> dict[str, int]:
    experts = config.experts
    return {
        "D": config.hidden_size,
        "E": experts.count if experts else 0,
        "F": config.intermediate_size,
        "M": experts.width if experts else 0,
        "H": config.head_dim,
        "K": config.num_kv_heads,
        "L": config.num_layers,
        "N": config.num_heads,
        "V": config.vocab_size,
    }


@functools.cache
def _parse(axes: str) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """The axes of the file's tensor, each a product of letters, and ours."""
    theirs, ours = axes.split(" -> ")
    products = re.findall(r"\(.*?\)|\w", theirs)
    return tuple(tuple(product.strip("()").split()) for product in products), tuple(ours.split())
