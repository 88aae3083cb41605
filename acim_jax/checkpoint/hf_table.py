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
class Axes:
    """A parsed correspondence. theirs: axes of the file's tensor, each a product; ours: ours."""

    theirs: tuple[tuple[str, ...], ...]
    ours: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Weight:
    """One parameter.

    A `{l}` in `name` makes it one tensor a layer, an `{e}` one an expert: they are stacked on our
    first axes, in this order.
    """

    name: str
    path: str
    axes: str

    @property
    def stacked(self) -> tuple[str, ...]:
        """The letters of the stacking axes: (), ("l",) or ("l", "e")."""
        return tuple(letter for letter in "le" if f"{{{letter}}}" in self.name)


@dataclasses.dataclass(frozen=True)
class Family:
    """How one `model_type` is written.

    weights: those of every model. untied_weights: without tied embeddings. twins: tensors that a
    tied checkpoint may hold once more, and what they must be equal to. qkv_bias, qk_norm, experts:
    what all models of the family have or have not.
    """

    model_type: str
    architecture: str
    weights: tuple[Weight, ...]
    qkv_bias: bool
    qk_norm: bool
    experts: bool
    untied_weights: tuple[Weight, ...]
    twins: Mapping[str, str]

    def weights_of(self, config: ModelConfig) -> tuple[Weight, ...]:
        """The weights that a model of this configuration has; each is used exactly once."""
        return self.weights if config.tie_embeddings else self.weights + self.untied_weights


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


def _family(model_type: str, architecture: str, *blocks: tuple[Weight, ...]) -> Family:
    return Family(
        model_type=model_type,
        architecture=architecture,
        weights=sum((_OUTER, _ATTENTION, *blocks), ()),
        qkv_bias=_BIASES in blocks,
        qk_norm=_HEAD_NORMS in blocks,
        experts=_EXPERTS in blocks,
        untied_weights=(Weight("lm_head.weight", "unembed/kernel", "V D -> D V"),),
        twins={"lm_head.weight": "model.embed_tokens.weight"},
    )


#: Supported `model_type`s.
FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        _family("qwen2", "Qwen2ForCausalLM", _BIASES, _MLP),
        _family("qwen3", "Qwen3ForCausalLM", _HEAD_NORMS, _MLP),
        _family("qwen3_moe", "Qwen3MoeForCausalLM", _HEAD_NORMS, _EXPERTS),
        _family("llama", "LlamaForCausalLM", _MLP),
        _family("mistral", "MistralForCausalLM", _MLP),
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


def tensor_names(weight: Weight, config: ModelConfig) -> tuple[str, ...]:
    """The weight's tensors, in the order of the parameter's stacking axes."""
    stack = stack_shape(weight, config)
    return tuple(
        weight.name.format(**dict(zip(weight.stacked, at, strict=True)))
        for at in np.ndindex(*stack)
    )


def stack_shape(weight: Weight, config: ModelConfig) -> tuple[int, ...]:
    """The parameter's first axes, along which its tensors are stacked: (L), (L, E) or ()."""
    sizes = {"l": config.num_layers, "e": _sizes(config)["E"]}
    return tuple(sizes[letter] for letter in weight.stacked)


def tensor_shape(weight: Weight, config: ModelConfig) -> tuple[int, ...]:
    """The shape of each of the weight's tensors in the file."""
    sizes = _sizes(config)
    return tuple(math.prod(sizes[a] for a in product) for product in _parse(weight.axes).theirs)


def param_shape(weight: Weight, config: ModelConfig) -> tuple[int, ...]:
    """The shape of the weight's parameter, stacking axes included."""
    sizes = _sizes(config)
    return stack_shape(weight, config) + tuple(sizes[a] for a in _parse(weight.axes).ours)


def read(
    weight: Weight, config: ModelConfig, fetch: Callable[[Index], np.ndarray], index: Index
) -> np.ndarray:
    """The part `index` of one of our arrays (without its stacking axes), from a file's tensor.

    fetch returns a slice of the file's tensor. Along a product axis such as `(N H)` the slice
    covers whole steps of the leading letter.
    """
    sizes, axes = _sizes(config), _parse(weight.axes)
    bounds = {a: s.indices(sizes[a])[:2] for a, s in zip(axes.ours, index, strict=True)}
    slices: list[slice] = []
    shape: list[int] = []
    inner: list[slice] = []
    for leading, *minor in axes.theirs:
        step = math.prod(sizes[a] for a in minor)
        start, stop = bounds[leading]
        slices.append(slice(start * step, stop * step))
        shape += [stop - start, *(sizes[a] for a in minor)]
        inner += [slice(None), *(slice(*bounds[a]) for a in minor)]
    part = fetch(tuple(slices)).reshape(shape)[tuple(inner)]
    letters = [a for product in axes.theirs for a in product]
    return part.transpose([letters.index(a) for a in axes.ours])


def write(weight: Weight, config: ModelConfig, array: np.ndarray) -> np.ndarray:
    """The file's tensor of one of our arrays (without its stacking axes): the inverse of `read`."""
    axes = _parse(weight.axes)
    letters = [a for product in axes.theirs for a in product]
    flat = array.transpose([axes.ours.index(a) for a in letters])
    return np.ascontiguousarray(flat.reshape(tensor_shape(weight, config)))


def _sizes(config: ModelConfig) -> dict[str, int]:
    experts = config.experts
    return {
        "D": config.hidden_size,
        "E": experts.count if experts else 0,
        "F": config.intermediate_size,
        "M": experts.width if experts else 0,
        "H": config.head_dim,
        "K": config.num_kv_heads,
        "N": config.num_heads,
        "V": config.vocab_size,
    }


@functools.cache
def _parse(axes: str) -> Axes:
    theirs, ours = axes.split(" -> ")
    products = re.findall(r"\(([^)]*)\)|(\w)", theirs)
    return Axes(
        theirs=tuple(tuple(product.split()) or (single,) for product, single in products),
        ours=tuple(ours.split()),
    )
