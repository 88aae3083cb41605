"""The pieces of a decoder block, as Flax linen modules used only through `init` and `apply`."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from acim_jax.model import cache as caches
from acim_jax.model import lora, moe, rope
from acim_jax.model.config import ModelConfig
from acim_jax.sharding import axes
from acim_kernels.attention import api as kernels
from acim_kernels.attention import reference
from acim_kernels.attention.sharding import Sharding

#: How many positions a query sees: None for all; an array where the layers of a scan differ.
Window = int | Int[Array, ""] | None


def project(
    module: nn.Module,
    name: str,
    x: Array,
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    config: ModelConfig,
    *,
    bias: bool = False,
) -> Array:
    """x · w_{name} (+ b_{name}): every projection of a block, contracted over x's last axes.

    inputs, outputs: sizes of the contracted and the new axes; w_{name} has both. Where a low-rank
    adapter stands beside the weight, it is added. Where the module was given the weight's rows
    (`transformer.decode_params`), these are streamed.
    """
    split = len(inputs)
    if module.has_variable("params", rows := f"w_{name}_rows"):
        y = stream(x.reshape(*x.shape[:-split], -1), module.get_variable("params", rows))
        y = y.reshape(*y.shape[:-1], *outputs)
        return _biased(module, name, y, outputs, config) if bias else y
    init = nn.initializers.lecun_normal(
        in_axis=tuple(range(split)), out_axis=tuple(range(split, split + len(outputs)))
    )
    w = module.param(f"w_{name}", init, (*inputs, *outputs), config.param_dtype)
    y = lora.project(module, f"w_{name}", x, w.astype(config.dtype), split)
    return _biased(module, name, y, outputs, config) if bias else y


def _biased(
    module: nn.Module, name: str, y: Array, outputs: tuple[int, ...], config: ModelConfig
) -> Array:
    b = module.param(f"b_{name}", nn.initializers.zeros, outputs, config.param_dtype)
    return y + b.astype(config.dtype)


def stream(
    x: Float[Array, "*B D"], rows_FD: Float[Array, "F D"], dtype: jnp.dtype | None = None
) -> Float[Array, "*B F"]:
    """x · rowsᵀ as (rows · xᵀ)ᵀ, for few x: the fast order on a CPU.

    A matrix product copies its right operand into tiles first. That should be x, not the weights,
    which are then read once, row after row: with 16 rows of x it takes half of the time.
    """
    return _by_columns(x, lambda x_DB: jnp.matmul(rows_FD, x_DB, preferred_element_type=dtype))


def _by_columns(
    x: Float[Array, "*B D"], function: Callable[[Float[Array, "D B"]], Float[Array, "F B"]]
) -> Float[Array, "*B F"]:
    """The barriers keep the compiler from turning the products inside round."""
    x_DB = jax.lax.optimization_barrier(x.reshape(-1, x.shape[-1]).T)
    y_FB = jax.lax.optimization_barrier(function(x_DB))
    return y_FB.T.reshape(*x.shape[:-1], -1)


class RMSNorm(nn.Module):
    """x / rms(x) · scale, computed in float32 (arXiv:1910.07467)."""

    eps: float
    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), self.param_dtype)
        x32 = x.astype(jnp.float32)
        variance = jnp.mean(jnp.square(x32), axis=-1, keepdims=True)
        normed = (x32 * jax.lax.rsqrt(variance + self.eps)).astype(self.dtype)
        return normed * scale.astype(self.dtype)


class MLP(nn.Module):
    """SwiGLU: (silu(x W_gate) ⊙ x W_up) W_down (arXiv:2002.05202)."""

    config: ModelConfig
    layout: axes.Layout | None = None

    @nn.compact
    def __call__(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        if self.has_variable("params", "w_gate_rows"):
            return self._streamed(x_BTD)
        c = self.config
        narrow, wide = (c.hidden_size,), (c.intermediate_size,)
        gate_BTF = project(self, "gate", x_BTD, narrow, wide, c)
        gate_BTF = jax.nn.silu(gate_BTF) * project(self, "up", x_BTD, narrow, wide, c)
        gate_BTF = axes.constrain(gate_BTF, ("batch", "sequence", "mlp"), self.layout)
        return project(self, "down", gate_BTF, wide, narrow, c)

    def _streamed(self, x_BTD: Array) -> Array:
        """By columns throughout, so that nothing is transposed in between."""
        gate_FD, up_FD, down_DF = (
            self.get_variable("params", f"w_{name}_rows") for name in ("gate", "up", "down")
        )
        return _by_columns(
            x_BTD, lambda x_DB: down_DF @ (jax.nn.silu(gate_FD @ x_DB) * (up_FD @ x_DB))
        )


class MoE(nn.Module):
    """A router and its experts, each a SwiGLU (`model/moe.py`)."""

    config: ModelConfig
    layout: axes.Layout | None = None

    @nn.compact
    def __call__(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        c = self.config
        assert c.experts is not None  # Block chooses this module by it
        D, F, E = c.hidden_size, c.experts.width, c.experts.count
        router = self.param("router", nn.initializers.lecun_normal(), (D, E), c.param_dtype)
        init = nn.initializers.lecun_normal(batch_axis=0)
        weights = moe.Weights(
            *(
                self.param(name, init, shape, c.param_dtype).astype(c.dtype)
                for name, shape in (
                    ("w_gate", (E, D, F)),
                    ("w_up", (E, D, F)),
                    ("w_down", (E, F, D)),
                )
            )
        )
        choice = moe.route(x_BTD, router.astype(c.dtype), c.experts)
        return moe.mix(x_BTD, choice, weights, self.layout)


class Attention(nn.Module):
    """Grouped-query attention with rotary positions over a cache or over its own keys.

    visible: the columns (last axis) that each column sees, `window` included, where they are not
    those before it; without a cache only.
    """

    config: ModelConfig
    layout: axes.Layout | None = None

    @nn.compact
    def __call__(
        self,
        x_BTD: Float[Array, "B T D"],
        angles: rope.Rope,
        positions_BT: Int[Array, "B T"],
        cache: caches.Cache | None,
        layer: int | Int[Array, ""] = 0,
        window: Window = None,
        visible: Bool[Array, "B T T"] | None = None,
    ) -> tuple[Float[Array, "B T D"], caches.Cache | None]:
        c = self.config
        q, k = self._heads("q", x_BTD, angles), self._heads("k", x_BTD, angles)
        v = self._heads("v", x_BTD, None)
        if cache is None:
            keys, values = k.swapaxes(1, 2), v.swapaxes(1, 2)
            if visible is None:
                out = kernels.attention(
                    q, keys, values, window=window, sharding=_attention_sharding(self.layout)
                )
            else:
                out = reference.attention(q, keys, values, visible_BTT=visible)
        else:
            out, cache = caches.attend(
                cache,
                layer,
                q,
                k,
                v,
                positions_BT,
                num_layers=c.num_layers,
                window=window,
                layout=self.layout,
            )
        out = axes.constrain(out, ("batch", "sequence", "heads", "head_dim"), self.layout)
        return project(self, "o", out, (c.num_heads, c.head_dim), (c.hidden_size,), c), cache

    def _heads(self, name: str, x_BTD: Array, angles: rope.Rope | None) -> Array:
        """Queries, keys or values, [B, T, heads, H]; normed and rotated if angles are given."""
        c = self.config
        heads, axis = (c.num_heads, "heads") if name == "q" else (c.num_kv_heads, "kv_heads")
        shape = (heads, c.head_dim)
        y = project(self, name, x_BTD, (c.hidden_size,), shape, c, bias=c.qkv_bias)
        y = axes.constrain(y, ("batch", "sequence", axis, "head_dim"), self.layout)
        if angles is None:
            return y
        if c.qk_norm:
            y = RMSNorm(c.norm_eps, c.dtype, c.param_dtype, name=f"{name}_norm")(y)
        return rope.rotate(y, angles)


def _attention_sharding(layout: axes.Layout | None) -> Sharding | None:
    if layout is None:
        return None
    queries = layout.spec(("batch", "sequence", "heads", "head_dim"))
    keys = layout.spec(("batch", "kv_heads", "sequence", "head_dim"))
    assert isinstance(layout.mesh, Mesh)  # what is compiled is for devices
    return Sharding(layout.mesh, queries, keys)


class Block(nn.Module):
    """Pre-norm residual block: attention, then MLP or experts."""

    config: ModelConfig
    layout: axes.Layout | None = None

    @nn.compact
    def __call__(
        self,
        x_BTD: Float[Array, "B T D"],
        angles: rope.Rope,
        positions_BT: Int[Array, "B T"],
        cache: caches.Cache | None,
        layer: int | Int[Array, ""] = 0,
        window: Window = None,
        visible: Bool[Array, "B T T"] | None = None,
    ) -> tuple[Float[Array, "B T D"], caches.Cache | None]:
        c = self.config
        norm = RMSNorm(c.norm_eps, c.dtype, c.param_dtype, name="attention_norm")
        attended, cache = Attention(c, self.layout, name="attention")(
            norm(x_BTD), angles, positions_BT, cache, layer, window, visible
        )
        x_BTD = axes.constrain(x_BTD + attended, axes.HIDDEN, self.layout)
        norm = RMSNorm(c.norm_eps, c.dtype, c.param_dtype, name="mlp_norm")
        if c.experts is None:
            x_BTD = x_BTD + MLP(c, self.layout, name="mlp")(norm(x_BTD))
        else:
            x_BTD = x_BTD + MoE(c, self.layout, name="moe")(norm(x_BTD))
        return axes.constrain(x_BTD, axes.HIDDEN, self.layout), cache
