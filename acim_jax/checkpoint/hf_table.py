"""Names and axes of Hugging Face checkpoints, as one table per family, read in both directions.

A row says which tensor is which parameter and how their axes correspond, in the letters of the
dimension key: `(N H) D -> D N H` is a projection stored as [N·H, D] that we keep as [D, N, H].
Import and export, shapes and the slices that a device needs all follow from that one string.
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
class Row:
    """One parameter. A `{l}` in `name` makes it one tensor a layer, stacked on our first axis."""

    name: str
    path: str
    axes: str

    @property
    def stacked(self) -> bool:
        return "{l}" in self.name


@dataclasses.dataclass(frozen=True)
class Family:
    """How one `model_type` is written.

    rows: those of every model. bias_rows: with `qkv_bias`. untied_rows: without tied embeddings.
    twins: tensors that a tied checkpoint may hold once more, and what they must be equal to.
    """

    model_type: str
    architecture: str
    rows: tuple[Row, ...]
    bias_rows: tuple[Row, ...]
    untied_rows: tuple[Row, ...]
    twins: Mapping[str, str]

    def rows_of(self, config: ModelConfig) -> tuple[Row, ...]:
        """The rows that a model of this configuration has; each is used exactly once."""
        bias = self.bias_rows if config.qkv_bias else ()
        untied = () if config.tie_embeddings else self.untied_rows
        return self.rows + bias + untied


_LAYER = "model.layers.{l}."

QWEN2 = Family(
    model_type="qwen2",
    architecture="Qwen2ForCausalLM",
    rows=(
        Row("model.embed_tokens.weight", "embed/embedding", "V D -> V D"),
        Row(_LAYER + "input_layernorm.weight", "blocks/attention_norm/scale", "D -> D"),
        Row(_LAYER + "self_attn.q_proj.weight", "blocks/attention/w_q", "(N H) D -> D N H"),
        Row(_LAYER + "self_attn.k_proj.weight", "blocks/attention/w_k", "(K H) D -> D K H"),
        Row(_LAYER + "self_attn.v_proj.weight", "blocks/attention/w_v", "(K H) D -> D K H"),
        Row(_LAYER + "self_attn.o_proj.weight", "blocks/attention/w_o", "D (N H) -> N H D"),
        Row(_LAYER + "post_attention_layernorm.weight", "blocks/mlp_norm/scale", "D -> D"),
        Row(_LAYER + "mlp.gate_proj.weight", "blocks/mlp/w_gate", "F D -> D F"),
        Row(_LAYER + "mlp.up_proj.weight", "blocks/mlp/w_up", "F D -> D F"),
        Row(_LAYER + "mlp.down_proj.weight", "blocks/mlp/w_down", "D F -> F D"),
        Row("model.norm.weight", "final_norm/scale", "D -> D"),
    ),
    bias_rows=(
        Row(_LAYER + "self_attn.q_proj.bias", "blocks/attention/b_q", "(N H) -> N H"),
        Row(_LAYER + "self_attn.k_proj.bias", "blocks/attention/b_k", "(K H) -> K H"),
        Row(_LAYER + "self_attn.v_proj.bias", "blocks/attention/b_v", "(K H) -> K H"),
    ),
    untied_rows=(Row("lm_head.weight", "unembed/kernel", "V D -> D V"),),
    twins={"lm_head.weight": "model.embed_tokens.weight"},
)

#: Supported `model_type`s.
FAMILIES: dict[str, Family] = {family.model_type: family for family in (QWEN2,)}


def tensor_names(row: Row, config: ModelConfig) -> tuple[str, ...]:
    """The row's tensors, in order of layers."""
    if not row.stacked:
        return (row.name,)
    return tuple(row.name.format(l=layer) for layer in range(config.num_layers))


def tensor_shape(row: Row, config: ModelConfig) -> tuple[int, ...]:
    """The shape of each of the row's tensors in the file."""
    sizes = _sizes(config)
    return tuple(math.prod(sizes[a] for a in product) for product in _parse(row.axes).theirs)


def param_shape(row: Row, config: ModelConfig) -> tuple[int, ...]:
    """The shape of the row's parameter, layers included."""
    sizes = _sizes(config)
    shape = tuple(sizes[a] for a in _parse(row.axes).ours)
    return (config.num_layers, *shape) if row.stacked else shape


def read(
    row: Row, config: ModelConfig, fetch: Callable[[Index], np.ndarray], index: Index
) -> np.ndarray:
    """The part `index` of one of our arrays (without its layer axis), from a file's tensor.

    fetch returns a slice of the file's tensor. Along a product axis such as `(N H)` it is asked
    for whole steps of the leading letter, which is the least that one slice can hold.
    """
    sizes, axes = _sizes(config), _parse(row.axes)
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


def write(row: Row, config: ModelConfig, array: np.ndarray) -> np.ndarray:
    """The file's tensor of one of our arrays (without its layer axis): the inverse of `read`."""
    axes = _parse(row.axes)
    letters = [a for product in axes.theirs for a in product]
    flat = array.transpose([axes.ours.index(a) for a in letters])
    return np.ascontiguousarray(flat.reshape(tensor_shape(row, config)))


def _sizes(config: ModelConfig) -> dict[str, int]:
    return {
        "D": config.hidden_size,
        "F": config.intermediate_size,
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
