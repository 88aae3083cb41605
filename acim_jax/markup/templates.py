"""Markups by name, and from the fields that a user writes.

The prompts of Qwen2.5-Math, DeepSeek-Math and ToRA are those of their model cards and evaluation
programs. `retool` and `hermes` follow the published formats with instructions in our wording: for a
model trained on another wording, set `user` or `system`. Prefixes, `max_turns` and
`max_output_chars` are our choices, the latter two close to what those evaluations allow.
"""

import dataclasses
import difflib
import functools
from collections.abc import Mapping

import pydantic

from acim_jax.markup.form import Markup

_BOXED = "put your final answer within \\boxed{}."
_STEPS = f"Please reason step by step, and {_BOXED}"
_PROGRAMS = (
    "Please integrate natural language reasoning with programs to solve the problem above, and "
    + _BOXED
)
_RETOOL = (
    "Solve the following problem step by step. You may write Python programs to support your "
    "reasoning; each is run as a whole, imports included, and what it prints comes back between "
    "<interpreter> and </interpreter>. Write a program as\n<code>\n```python\nprogram\n```\n"
    "</code>\nEnd with <answer>\\boxed{final answer}</answer>.\n\n{problem}"
)
_HERMES = f"Reason step by step; call the function python where it helps. In the end, {_BOXED}"

#: How instruction models begin by themselves. Measured with `acim prefixes` on GSM8K under
#: `qwen2.5-math-tir`: together 0.97 of Qwen2.5-Coder-0.5B-Instruct's probability (docs/method.md).
_natural = functools.partial(Markup, text_prefixes=("To", "Let's"), code_prefixes=("```python\n",))

#: What `name` may be. A program between `<code>` tags may have a Markdown fence of its own.
TEMPLATES: Mapping[str, Markup] = {
    "plain": Markup(),
    "chat": _natural(template="chat", user=f"{{problem}}\n{_STEPS}", max_turns=4),
    "qwen2.5-math-cot": _natural(template="chat", system=_STEPS),
    "qwen2.5-math-tir": _natural(
        template="chat", system=_PROGRAMS, max_turns=4, max_output_chars=400
    ),
    "deepseek-math-cot": _natural(template=f"User: {{problem}}\n{_STEPS}\n\nAssistant:"),
    "deepseek-math-tool": _natural(
        template=f"User: {{problem}}\n{_PROGRAMS}\n\nAssistant:", max_turns=2, max_output_chars=100
    ),
    "tora": _natural(template="<|user|>\n{problem}\n<|assistant|>\n", max_turns=3),
    "autocode": _natural(template="chat", user=f"{{problem}}\n{_STEPS}", max_turns=2),
    "retool": _natural(
        template="chat",
        user=_RETOOL,
        code_prefixes=("<code>\n",),
        code_open="<code>\n",
        code_close="\n</code>",
        body="markdown",
        output_open="\n<interpreter>\n",
        output_close="\n</interpreter>\n",
        max_turns=8,
    ),
    "hermes": _natural(
        template="chat",
        system=_HERMES,
        tools=True,
        code_prefixes=("<tool_call>\n",),
        code_open="<tool_call>\n",
        code_close="\n</tool_call>",
        body="json",
        output_open="<|im_end|>\n<|im_start|>user\n<tool_response>\n",
        output_close="\n</tool_response><|im_end|>\n<|im_start|>assistant\n",
        max_turns=4,
    ),
}


def from_fields(fields: Mapping[str, object], where: str, base: Markup | None = None) -> Markup:
    """A markup from the fields of a YAML mapping or of options.

    `name` selects one of `TEMPLATES` in place of `base`; the other fields override it. ValueError,
    beginning with `where`, for an unknown name or field (with the nearest known one) and for a
    value that a field cannot have.
    """
    known = [field.name for field in dataclasses.fields(Markup) if field.name != "functions"]
    for field in fields:
        if field not in known and field != "name":
            raise ValueError(
                f"{where}: unknown field {field!r}; the nearest known is "
                f"{_nearest(field, [*known, 'name'])!r}."
            )
    if "name" in fields:
        name = fields["name"]
        base = TEMPLATES.get(str(name))
        if base is None:
            raise ValueError(
                f"{where}: name: no template is called {name!r}; did you mean "
                f"{_nearest(name, list(TEMPLATES))!r}? There are {', '.join(TEMPLATES)}."
            )
    given = {field: value for field, value in fields.items() if field != "name"}
    try:
        return pydantic.TypeAdapter(Markup).validate_python(
            dataclasses.asdict(base or Markup()) | given
        )
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "markup"
        raise ValueError(f"{where}: {field}: {first['msg']}, got {first['input']!r}.") from error


def _nearest(name: object, known: list[str]) -> str:
    return difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)[0]
