"""The pieces of a decoder block, as Flax linen modules used only through `init` and `apply`."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from acim_jax.model import attention
from acim_jax.model.config import ModelConfig
from acim_jax.sharding import axes
from acim_kernels.attention import api as kernels


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
        c = self.config
        init = nn.initializers.lecun_normal()
        shape = (c.hidden_size, c.intermediate_size)
        w_gate = self.param("w_gate", init, shape, c.param_dtype).astype(c.dtype)
        w_up = self.param("w_up", init, shape, c.param_dtype).astype(c.dtype)
        w_down = self.param("w_down", init, shape[::-1], c.param_dtype).astype(c.dtype)
        gate_BTF = jax.nn.silu(x_BTD @ w_gate) * (x_BTD @ w_up)
        gate_BTF = axes.constrain(gate_BTF, ("batch", "sequence", "mlp"), self.layout)
        return gate_BTF @ w_down


class Attention(nn.Module):
    """Grouped-query attention with rotary positions over a cache or over its own keys."""

    config: ModelConfig
    layout: axes.Layout | None = None

    @nn.compact
    def __call__(
        self,
        x_BTD: Float[Array, "B T D"],
        rope: attention.Rope,
        positions_BT: Int[Array, "B T"],
        update: attention.CacheUpdate | None,
    ) -> tuple[Float[Array, "B T D"], attention.CacheUpdate | None]:
        q, k, v = self._project(x_BTD)
        q = attention.rotate(q, rope)
        k = attention.rotate(k, rope)
        if update is None:
            k_BKSH, v_BKSH = k.swapaxes(1, 2), v.swapaxes(1, 2)
        else:
            update = attention.write(update, k, v, positions_BT)
            k_BKSH, v_BKSH = attention.read(update)
        out = kernels.attention(q, k_BKSH, v_BKSH, positions_BT)
        out = axes.constrain(out, ("batch", "sequence", "heads", "head_dim"), self.layout)
        c = self.config
        out_init = nn.initializers.lecun_normal(in_axis=(0, 1), out_axis=2)
        shape = (c.num_heads, c.head_dim, c.hidden_size)
        w_o = self.param("w_o", out_init, shape, c.param_dtype).astype(c.dtype)
        return jnp.einsum("BTNH,NHD->BTD", out, w_o), update

    def _project(self, x_BTD: Array) -> tuple[Array, Array, Array]:
        c = self.config
        projected = []
        for name, heads, axis in (
            ("q", c.num_heads, "heads"),
            ("k", c.num_kv_heads, "kv_heads"),
            ("v", c.num_kv_heads, "kv_heads"),
        ):
            init = nn.initializers.lecun_normal(in_axis=0, out_axis=(1, 2))
            shape = (c.hidden_size, heads, c.head_dim)
            w = self.param(f"w_{name}", init, shape, c.param_dtype).astype(c.dtype)
            y = jnp.einsum("BTD,DNH->BTNH", x_BTD, w)
            if c.qkv_bias:
                b = self.param(f"b_{name}", nn.initializers.zeros, shape[1:], c.param_dtype)
                y = y + b.astype(c.dtype)
            y = axes.constrain(y, ("batch", "sequence", axis, "head_dim"), self.layout)
            projected.append(y)
        return projected[0], projected[1], projected[2]


class Block(nn.Module):
    """Pre-norm residual block: attention, then MLP."""

    config: ModelConfig
    layout: axes.Layout | None = None

    @nn.compact
    def __call__(
        self,
        x_BTD: Float[Array, "B T D"],
        rope: attention.Rope,
        positions_BT: Int[Array, "B T"],
        update: attention.CacheUpdate | None,
    ) -> tuple[Float[Array, "B T D"], attention.CacheUpdate | None]:
        c = self.config
        norm = RMSNorm(c.norm_eps, c.dtype, c.param_dtype, name="attention_norm")
        attended, update = Attention(c, self.layout, name="attention")(
            norm(x_BTD), rope, positions_BT, update
        )
        x_BTD = axes.constrain(x_BTD + attended, axes.HIDDEN, self.layout)
        norm = RMSNorm(c.norm_eps, c.dtype, c.param_dtype, name="mlp_norm")
        x_BTD = x_BTD + MLP(c, self.layout, name="mlp")(norm(x_BTD))
        return axes.constrain(x_BTD, axes.HIDDEN, self.layout), update
