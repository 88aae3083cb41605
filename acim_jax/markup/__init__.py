"""How a conversation is written: prompts, decision prefixes, code and output fences. Host only.

A `Markup` stands as `acim.yaml` beside a model's `config.json`; every command reads it from there.
"""

from acim_jax.markup.fences import (
    closed_program,
    completes_fence,
    count_opened,
    ends_response,
    programs,
)
from acim_jax.markup.form import PYTHON_TOOL, Body, Markup, messages, prompt_text
from acim_jax.markup.outputs import FENCE, cut_middle, render_output, strip_outputs
from acim_jax.markup.templates import TEMPLATES, from_fields

__all__ = [
    "FENCE",
    "PYTHON_TOOL",
    "TEMPLATES",
    "Body",
    "Markup",
    "closed_program",
    "completes_fence",
    "count_opened",
    "cut_middle",
    "ends_response",
    "from_fields",
    "messages",
    "programs",
    "prompt_text",
    "render_output",
    "strip_outputs",
]
