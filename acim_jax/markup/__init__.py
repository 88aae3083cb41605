"""How a conversation is written: prompts, decision prefixes, code and output fences. Host only.

A `Markup` stands as `acim.yaml` beside a model's `config.json`; every command reads it from there.
"""

from acim_jax.markup.form import Markup

__all__ = ["Markup"]
