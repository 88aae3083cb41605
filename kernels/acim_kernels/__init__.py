"""Kernels: each has a plain reference, faster versions and one signature. No acim_jax in here."""
