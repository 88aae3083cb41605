"""The kernels through the real compilers, for accelerators that need not be there.

`pip install "jax[tpu]"` brings the TPU's compiler, `jax[cuda12]` or `jax[cuda13]` the GPU's; where
neither is installed there is nothing to compile with.
"""

import importlib.util
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, PartitionSpec, SingleDeviceSharding

from acim_kernels.attention import api as causal
from acim_kernels.attention.sharding import Sharding
from acim_kernels.paged_attention import api as paged
from acim_kernels.paged_attention.pages import Pages, write

NEEDS_TPU_COMPILER = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed"
)
NEEDS_GPU_COMPILER = pytest.mark.skipif(
    not any(importlib.util.find_spec(f"jax_cuda{n}_plugin") for n in (12, 13)),
    reason="no CUDA plugin of jax is installed",
)
#: As the compiler wants to know it (xla's GpuTargetConfigProto), from NVIDIA's data sheet.
H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 minor: 0 }
  threads_per_block_limit: 1024
  threads_per_warp: 32
  threads_per_core_limit: 2048
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  l2_cache_size: 52428800
  memory_bandwidth: 3352320000000
  device_memory_size: 84929347584
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
}
platform_name: "CUDA"
runtime_version { major: 12 minor: 8 }
dnn_version_info { major: 9 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


def tpus(name: str):
    os.environ.update(ALLOW_MULTIPLE_LIBTPU_LOAD="1", TPU_SKIP_MDS_QUERY="1")
    return topologies.get_topology_desc(platform="tpu", topology_name=name).devices


def gpus():
    try:
        found = topologies.get_topology_desc(platform="cuda", target_config=H100, topology="1x1x1")
    except NotImplementedError:
        pytest.skip("jax drops its CUDA plugin where no GPU is, unless JAX_PLATFORMS=cpu is set")
    return found.devices


def paged_step(device, dtype: str, B, T, K, group, G, H, M, X=4000):
    """One layer's write and attention in a loop, as a decoder has them; compiled."""
    exact = "bfloat16" if dtype == "int8" else dtype

    def some(shape, dtype):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=SingleDeviceSharding(device))

    array, scales = some((X, K, G, H), dtype), some((X, K, G), "float32")
    pages = Pages(array, array, *([scales] * 2 if dtype == "int8" else []))

    def steps(q, k, pages, tables, positions):
        def step(carry):
            i, pages, q, positions = carry
            page = jnp.take_along_axis(tables, positions // G, axis=1)
            pages = write(pages, k, k, page, positions % G)
            q = paged.attention(q, pages, tables, positions)
            return i + 1, pages, q, positions + 1

        return jax.lax.while_loop(lambda carry: carry[0] < 8, step, (0, pages, q, positions))

    given = (
        some((B, T, K * group, H), exact), some((B, T, K, H), exact), pages,
        some((B, M), "int32"), some((B, T), "int32"),
    )  # fmt: skip
    compiled = jax.jit(steps, donate_argnums=2).lower(*given).compile()
    cache_bytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(pages))
    memory = compiled.memory_analysis()
    assert memory is not None
    return compiled.as_text(), memory.temp_size_in_bytes / cache_bytes


SHAPES = [
    ("bfloat16", dict(B=64, T=1, K=2, group=6, G=64, H=128, M=32)),
    ("bfloat16", dict(B=8, T=64, K=4, group=7, G=32, H=128, M=16)),
    ("float32", dict(B=8, T=1, K=1, group=8, G=16, H=128, M=100)),
    ("int8", dict(B=8, T=4, K=8, group=1, G=128, H=128, M=20, X=1000)),
]


@NEEDS_TPU_COMPILER
@pytest.mark.parametrize("topology", ["v5e:2x2", "v5p:2x2x1", "v6e:2x2"])
@pytest.mark.parametrize(("dtype", "shape"), SHAPES)
def test_paged_attention_for_tpu_reads_the_cache_where_it_lies(topology, dtype, shape):
    """A copy of it would be among the temporary arrays (half of it at least: keys or values)."""
    text, temporary = paged_step(tpus(topology)[0], dtype, **shape)
    assert "tpu_custom_call" in text
    assert temporary < 0.2


@NEEDS_GPU_COMPILER
@pytest.mark.parametrize(("dtype", "shape"), [*SHAPES, ("int8", SHAPES[0][1] | {"H": 64})])
def test_paged_attention_for_gpu_reads_the_cache_where_it_lies(dtype, shape):
    text, temporary = paged_step(gpus()[0], dtype, **shape)
    assert "__gpu$xla.gpu.triton" in text
    assert temporary < 0.2


@NEEDS_TPU_COMPILER
@pytest.mark.parametrize("topology", ["v5e:2x2", "v5p:2x2x1", "v6e:2x2"])
@pytest.mark.parametrize(("T", "H", "window"), [(1000, 128, None), (300, 64, 100)])
def test_attention_for_tpu_and_its_gradient_compile_on_a_mesh(topology, T, H, window):
    """Three kernels: forward, dq, dk and dv; no [T, T] array is among the temporary ones."""
    mesh = Mesh(np.array(tpus(topology)[:4]).reshape(2, 2), ("x", "y"), (AxisType.Auto,) * 2)
    sharding = Sharding(
        mesh, PartitionSpec("x", None, "y", None), PartitionSpec("x", "y", None, None)
    )

    def some(shape, spec):
        placed = jax.NamedSharding(mesh, spec)
        return jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=placed)

    def total(q, k, v):
        return jnp.sum(causal.attention(q, k, v, window=window, sharding=sharding))

    q = some((8, T, 14, H), sharding.queries)
    k = some((8, 2, T, H), sharding.keys)
    with jax.default_matmul_precision("default"):
        lowered = jax.jit(jax.grad(total, argnums=(0, 1, 2))).lower(q, k, k)
    text = lowered.compile().as_text()
    assert text.count('custom_call_target="tpu_custom_call"') == 3
    assert f"{T},{T}]" not in text
