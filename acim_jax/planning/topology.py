"""Devices of hardware that is not there, to lower and compile for.

TPUs need `libtpu` (`pip install 'jax[tpu]'`), GPUs the CUDA plugin (`pip install 'jax[cuda12]'`);
neither needs the hardware itself.
"""

from typing import Any

from jax.experimental import topologies

#: (name, compute capability, multiprocessors, shared memory of one and of a block that asks for
#: it, L2 bytes, clock in GHz, memory bytes, memory bytes/s), from NVIDIA's data sheets.
_GPUS = {
    "a100": ("NVIDIA A100-SXM4-80GB", (8, 0), 108, 167936, 166912, 41943040, 1.41, 85_094_825_984,
             2_039_000_000_000),
    "h100": ("NVIDIA H100 80GB HBM3", (9, 0), 132, 233472, 232448, 52428800, 1.98, 84_929_347_584,
             3_352_320_000_000),
    "rtx4090": ("NVIDIA GeForce RTX 4090", (8, 9), 128, 102400, 101376, 75497472, 2.52,
                25_386_352_640, 1_008_000_000_000),
}  # fmt: skip


def devices(name: str) -> list[Any]:
    """`v5e:4x4`: that slice of TPUs, as libtpu names it; `h100:8`: so many GPUs of one host.
    ValueError for a name that is unknown, or whose compiler is not installed."""
    kind, _, size = name.partition(":")
    try:
        if kind in _GPUS:
            found = topologies.get_topology_desc(
                platform="cuda", target_config=_target(kind), topology=f"1x1x{int(size)}"
            )
        else:
            options = {"chips_per_host_bounds": (1, 1, 1)} if size == "1x1" else {}
            found = topologies.get_topology_desc(platform="tpu", topology_name=name, **options)
    except (RuntimeError, NotImplementedError, ValueError) as error:
        raise ValueError(
            f"{name!r} is no topology that can be compiled for here: {error} Give a TPU slice as "
            f"v5e:4x4, v5p:2x2x2 or v6e:2x4 (with jax[tpu]), or GPUs as h100:8 (with jax[cuda12]; "
            f"{', '.join(_GPUS)})."
        ) from error
    return list(found.devices)


def _target(kind: str) -> str:
    """The text form of XLA's description of a GPU."""
    name, capability, cores, shared, asked, cache, clock, memory, bandwidth = _GPUS[kind]
    threads = 2048 if kind != "rtx4090" else 1536
    return f"""
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: {threads}
  shared_memory_per_block: 49152 shared_memory_per_core: {shared}
  shared_memory_per_block_optin: {asked} core_count: {cores} fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth} l2_cache_size: {cache} clock_rate_ghz: {clock}
  device_memory_size: {memory} registers_per_core_limit: 65536 registers_per_block_limit: 65536
  cuda_compute_capability {{ major: {capability[0]} minor: {capability[1]} }}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 8 }}
runtime_version {{ major: 12 minor: 8 patch: 0 }}
device_description_str: "{name}"
"""
