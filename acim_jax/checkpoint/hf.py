"""The door to folders in Hugging Face form: configuration, weights, and the markup beside them."""

from acim_jax.checkpoint.acim_yaml import read_markup, write_markup
from acim_jax.checkpoint.hf_config import read_config
from acim_jax.checkpoint.hf_export import save
from acim_jax.checkpoint.hf_import import load

__all__ = ["load", "read_config", "read_markup", "save", "write_markup"]
