"""Kernels: each an obvious reference, faster versions, one signature. Knows nothing of acim_jax."""
