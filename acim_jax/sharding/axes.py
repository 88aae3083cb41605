"""Logical axes of parameters and activations. Model code names these and never a mesh axis.

Two tables make a sharding strategy: `PARAM_AXES` (path → logical axes, a fact about the model) and
`TRAIN_RULES` / `SAMPLE_RULES` (logical axis → mesh axes, a choice). A strategy is data.
"""

import dataclasses
import math

import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

MeshAxes = str | tuple[str, ...] | None
HIDDEN = ("batch", "sequence", "activation_embed")

PARAM_AXES: dict[str, tuple[str, ...]] = {
    "embed/embedding": ("vocab", "embed"),
    "blocks/attention_norm/scale": ("layers", "norm"),
    "blocks/attention/w_q": ("layers", "embed", "heads", "head_dim"),
    "blocks/attention/b_q": ("layers", "heads", "head_dim"),
    "blocks/attention/w_k": ("layers", "embed", "kv_heads", "head_dim"),
    "blocks/attention/b_k": ("layers", "kv_heads", "head_dim"),
    "blocks/attention/w_v": ("layers", "embed", "kv_heads", "head_dim"),
    "blocks/attention/b_v": ("layers", "kv_heads", "head_dim"),
    "blocks/attention/w_o": ("layers", "heads", "head_dim", "embed"),
    "blocks/attention/q_norm/scale": ("layers", "norm"),
    "blocks/attention/k_norm/scale": ("layers", "norm"),
    "blocks/mlp_norm/scale": ("layers", "norm"),
    "blocks/mlp/w_gate": ("layers", "embed", "mlp"),
    "blocks/mlp/w_up": ("layers", "embed", "mlp"),
    "blocks/mlp/w_down": ("layers", "mlp", "embed"),
    "blocks/moe/router": ("layers", "embed", "router"),
    "blocks/moe/w_gate": ("layers", "expert", "embed", "expert_mlp"),
    "blocks/moe/w_up": ("layers", "expert", "embed", "expert_mlp"),
    "blocks/moe/w_down": ("layers", "expert", "expert_mlp", "embed"),
    "final_norm/scale": ("norm",),
    "unembed/kernel": ("embed", "vocab"),
}

#: How many axes of an adapted weight (`model/lora.py`) are contracted with the input.
_ADAPTED = {
    **{f"blocks/attention/{name}": 1 for name in ("w_q", "w_k", "w_v")},
    "blocks/attention/w_o": 2,
    **{f"blocks/mlp/{name}": 1 for name in ("w_gate", "w_up", "w_down")},
}
#: Of low-rank adapters: A has the input axes of its weight, B the output axes.
ADAPTER_AXES: dict[str, tuple[str, ...]] = {
    f"{path}_lora_{half}": axes
    for path, inputs in _ADAPTED.items()
    for half, axes in (
        ("a", (*PARAM_AXES[path][: inputs + 1], "lora_rank")),
        ("b", ("layers", "lora_rank", *PARAM_AXES[path][inputs + 1 :])),
    )
}

Rules = dict[str, MeshAxes]

#: Fully sharded parameters, tensor-parallel heads, feed-forward and experts.
TRAIN_RULES: Rules = {
    "batch": ("data", "fsdp"),
    "sequence": None,
    "activation_embed": None,
    "layers": None,
    "norm": None,
    "embed": "fsdp",
    "vocab": "tensor",
    "heads": "tensor",
    "kv_heads": "tensor",
    "head_dim": None,
    "mlp": "tensor",
    "router": None,
    "expert": "tensor",
    "expert_mlp": None,
    "lora_rank": None,
    "pages": None,
    "page": None,
}

#: Only the tensor axis splits weights: decoding reads all of them for every token, and gathering
#: them over `fsdp` in each step would cost more than the memory it saves.
SAMPLE_RULES: Rules = TRAIN_RULES | {"embed": None}


@dataclasses.dataclass(frozen=True)
class Layout:
    """A mesh and the rules to use on it; hashable, so it can be a static argument of jit.

    An abstract mesh suffices for shapes and shardings; what is compiled needs one of devices.
    """

    mesh: Mesh | AbstractMesh
    rules: tuple[tuple[str, MeshAxes], ...]

    @classmethod
    def of(cls, mesh: Mesh | AbstractMesh, rules: Rules) -> "Layout":
        """A layout from a rules table; refuses mesh axes that the mesh does not have."""
        for logical, wanted in rules.items():
            for axis in _as_tuple(wanted):
                if axis not in mesh.axis_names:
                    raise ValueError(
                        f"The rule for {logical!r} names the mesh axis {axis!r}; the mesh has "
                        f"{mesh.axis_names}."
                    )
        return cls(mesh, tuple(sorted(rules.items())))

    def spec(self, logical_axes: tuple[str, ...]) -> PartitionSpec:
        """The partition of an array with these logical axes; no mesh axis may serve twice."""
        rules = dict(self.rules)
        taken: set[str] = set()
        entries: list[MeshAxes] = []
        for logical in logical_axes:
            if logical not in rules:
                raise ValueError(f"No sharding rule for the logical axis {logical!r}.")
            wanted = _as_tuple(rules[logical])
            if taken & set(wanted):
                raise ValueError(
                    f"The axes {logical_axes} would use the mesh axes {sorted(taken & set(wanted))}"
                    " twice; change one of their rules."
                )
            taken |= set(wanted)
            entries.append(rules[logical])
        return PartitionSpec(*entries)

    def sharding(self, logical_axes: tuple[str, ...]) -> NamedSharding:
        return NamedSharding(self.mesh, self.spec(logical_axes))

    def mesh_axes(self, *logical: str) -> tuple[str, ...]:
        """The mesh axes over which these axes are split."""
        return tuple(axis for name in logical for axis in _as_tuple(dict(self.rules)[name]))

    def shards(self, logical: str) -> int:
        """Into how many parts this axis is split; its length must be a multiple of that."""
        return math.prod(self.mesh.shape[axis] for axis in self.mesh_axes(logical))


def _as_tuple(wanted: MeshAxes) -> tuple[str, ...]:
    if wanted is None:
        return ()
    return (wanted,) if isinstance(wanted, str) else wanted


def constrain(x: jax.Array, logical_axes: tuple[str, ...], layout: Layout | None) -> jax.Array:
    """Asks for the layout's sharding of `x`; does nothing without a layout."""
    if layout is None:
        return x
    return jax.lax.with_sharding_constraint(x, layout.sharding(logical_axes))
