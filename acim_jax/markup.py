"""How a conversation is written: prompts, decision prefixes, code and output fences. Host only.

A `Markup` stands as `acim.yaml` beside a model's `config.json`; every command reads it from there.
"""

import dataclasses
import re

from acim_jax.records import ExecutionResult, Status

FENCE = "```"


@dataclasses.dataclass(frozen=True)
class Markup:
    """The written form that a model was trained with.

    template: `{problem}` is replaced; `chat` uses the tokenizer's own chat template; `plain` is
        `Problem: … Solution:`.
    text_prefixes, code_prefixes: natural-language beginnings of a response that lead to a decision
        (arXiv:2502.00691, guided exploration). No prefix may begin another one.
    code_open, code_close: a program stands between them. output_open, output_close: what the
        interpreter said, written by us. max_turns: programs per episode. max_output_chars: longer
        outputs are cut in the middle before the model sees them. stop: texts whose tokens end a
        response, beside the tokenizer's own end token.
    """

    template: str = "plain"
    text_prefixes: tuple[str, ...] = ("Let me think step by step.\n",)
    code_prefixes: tuple[str, ...] = ("Let me write Python code.\n```python\n",)
    code_open: str = "```python\n"
    code_close: str = "\n```"
    output_open: str = "\n```output\n"
    output_close: str = "\n```\n"
    max_turns: int = 1
    max_output_chars: int = 512
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        prefixes = self.text_prefixes + self.code_prefixes
        if not self.text_prefixes or not self.code_prefixes:
            raise ValueError("markup needs at least one text prefix and one code prefix.")
        for one in prefixes:
            for other in prefixes:
                if one is not other and other.startswith(one):
                    raise ValueError(
                        f"The decision prefixes must be prefix-free, but {other!r} begins with "
                        f"{one!r}: π(c|x) would count the same text twice."
                    )
        if self.template not in ("chat", "plain") and "{problem}" not in self.template:
            raise ValueError(
                f"markup.template must be 'chat', 'plain' or contain '{{problem}}', got "
                f"{self.template!r}."
            )

    def prefixes(self, decision: str) -> tuple[str, ...]:
        """The prefixes that lead to `decision` (`text` or `code`)."""
        return self.code_prefixes if decision == "code" else self.text_prefixes


def prompt_text(question: str, markup: Markup) -> str:
    """The prompt as text, for the `plain` and custom templates (`chat` needs the tokenizer)."""
    if markup.template == "plain":
        return f"Problem: {question}\nSolution: "
    return markup.template.replace("{problem}", question)


def closed_program(text: str, markup: Markup) -> str | None:
    """The program of a fence that `text` (a response so far) has just closed, else None.

    Only a fence that ends the text counts: rows are looked at whenever they sample a token that
    could close one.
    """
    close = markup.code_close
    body = text.rstrip(" \n") if close.endswith(FENCE) else text
    if not body.endswith(close):
        return None
    start = body.rfind(markup.code_open, 0, len(body) - len(close) + 1)
    if start < 0:
        return None
    begin = start + len(markup.code_open)
    # An empty program shares its newline with both fences.
    program = body[begin : len(body) - len(close)] if begin <= len(body) - len(close) else ""
    return None if close in program else program


def count_opened(text: str, markup: Markup) -> int:
    """How many code fences a response opens, closed or not."""
    return text.count(markup.code_open)


def render_output(result: ExecutionResult, markup: Markup) -> str:
    """What the model is shown of a result: output, else the last line of the error, in its fence.

    The fence's own marks inside the output are broken up, so a program cannot close the fence.
    """
    match result.status:
        case Status.OK:
            shown = result.stdout.rstrip("\n") or "[no output]"
        case Status.TIMEOUT:
            shown = _with_output(result.stdout, "[timed out]")
        case Status.MEMORY:
            shown = _with_output(result.stdout, "[out of memory]")
        case Status.ERROR:
            lines = [line for line in result.stderr.strip().splitlines() if line.strip()]
            shown = _with_output(result.stdout, lines[-1].strip() if lines else "[error]")
        case Status.BLOCKED:
            shown = _with_output(result.stdout, "[blocked]")
        case _:
            shown = _with_output(result.stdout, "[killed]")
    shown = cut_middle(shown, markup.max_output_chars).replace(FENCE, "'''")
    return markup.output_open + shown + markup.output_close


def _with_output(stdout: str, remark: str) -> str:
    out = stdout.rstrip("\n")
    return f"{out}\n{remark}" if out else remark


def cut_middle(text: str, limit: int) -> str:
    """At most about `limit` characters: head and tail are kept, the count of what was cut shown."""
    if len(text) <= limit:
        return text
    half = max(limit // 2, 1)
    return f"{text[:half]}[{len(text) - 2 * half} characters cut]{text[-half:]}"


def strip_outputs(text: str, markup: Markup) -> str:
    """A response without what the interpreter wrote, so that only MODEL text can be graded."""
    pattern = re.escape(markup.output_open) + r".*?" + re.escape(markup.output_close)
    return re.sub(pattern, "\n", text, flags=re.S)
