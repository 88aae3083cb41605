"""Autonomous code integration for math language models, in JAX (arXiv:2502.00691)."""

__version__ = "0.1.0"
