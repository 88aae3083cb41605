"""`Markup`: the prompt, decision prefixes, fences and stops; and the prompt as text."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Literal

#: What stands between the code fences.
#: `plain`: the program itself. `markdown`: the program, as itself or in a Markdown fence of its
#: own. `json`: a call `{"name": "python", "arguments": {"code": …}}`.
Body = Literal["plain", "markdown", "json"]


@dataclasses.dataclass(frozen=True)
class Markup:
    """The written form that a model was trained with.

    template: `{problem}` is replaced; `chat` is the tokenizer's own chat template; `plain` is
        `Problem: … Solution:`.
    system, user: with `chat`, the messages; `{problem}` is replaced in `user`. Without `system` no
        system message is given, and many chat templates then insert their own.
        In template, system and user, `{tools}` is replaced by the list of tools (`with_tools`).
    tools: with `chat`, the chat template is told of the function `python(code)`.
    text_prefixes, code_prefixes: natural-language beginnings of a response that lead to a decision
        (arXiv:2502.00691, guided exploration). No prefix may begin another one.
    text_hint, code_hint: what is written behind a question to elicit a decision, where the model's
        own openings are looked for, demonstrations are made, and with explore.guide `hint`.
        `{open}` and `{close}` stand for the code fence.
    reflection: what gives up a failed attempt, before one by the other decision, in the answers
        that explore.reflections makes.
    code_open, code_close: the fence around a program, which has the form `body`.
    output_open, output_close: the fence that we write around an interpreter output. Special tokens
        in it are recognised, so it may end the model's turn and open another.
    max_turns: programs per episode.
    max_output_chars: longer outputs are cut in the middle before the model sees them.
    error_lines: an error is shown with the number of the program's line that raised it.
    stateful: a program continues from the state of the episode's earlier ones: those that ended
        well run again before it, with their output discarded.
    stop: texts that end a response, beside the tokenizer's own end tokens. The tokens that spell
        them belong to the model and stay.
    functions: the tools, each in the JSON form that chat templates take (`with_tools`): listed
        there beside `python` where `tools` is set, and called by their name with the body `json`.
        Not a setting: no file holds it.
    """

    template: str = "plain"
    system: str | None = None
    user: str = "{problem}"
    tools: bool = False
    text_prefixes: tuple[str, ...] = ("Let me think step by step.\n",)
    code_prefixes: tuple[str, ...] = ("Let me write Python code.\n```python\n",)
    text_hint: str = "Solve it in words, step by step. Do not write a program."
    code_hint: str = (
        "Solve it by a program that prints the answer, written between {open} and {close}."
    )
    reflection: str = "\n\nThis does not seem right. Let me try it in another way.\n\n"
    code_open: str = "```python\n"
    code_close: str = "\n```"
    body: Body = "plain"
    output_open: str = "\n```output\n"
    output_close: str = "\n```\n"
    max_turns: int = 1
    max_output_chars: int = 512
    error_lines: bool = True
    stateful: bool = False
    stop: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_prompt()
        self._check_prefixes()
        for field in ("code_open", "code_close", "output_open", "output_close"):
            if not getattr(self, field).strip():
                raise ValueError(
                    f"markup.{field} must hold more than blanks: nothing would mark it."
                )
        for field in ("output_open", "output_close"):
            if self.code_open in getattr(self, field):
                raise ValueError(
                    f"markup.code_open {self.code_open!r} stands in markup.{field} "
                    f"{getattr(self, field)!r}: every output would open a program."
                )
        if any(not text for text in self.stop):
            raise ValueError("markup.stop: an empty text would end every response at once.")

    def _check_prompt(self) -> None:
        if self.template not in ("chat", "plain") and "{problem}" not in self.template:
            raise ValueError(
                f"markup.template must be 'chat', 'plain' or contain '{{problem}}', got "
                f"{self.template!r}."
            )
        if "{problem}" not in self.user:
            raise ValueError(f"markup.user must contain '{{problem}}', got {self.user!r}.")
        if self.template != "chat":
            for field, unused in (("system", None), ("user", "{problem}"), ("tools", False)):
                if getattr(self, field) != unused:
                    raise ValueError(
                        f"markup.{field} belongs to the template 'chat'; the template is "
                        f"{self.template!r}: write it in there."
                    )

    def _check_prefixes(self) -> None:
        prefixes = self.text_prefixes + self.code_prefixes
        if not self.text_prefixes or not self.code_prefixes:
            raise ValueError("markup needs at least one text prefix and one code prefix.")
        for one, other in itertools.permutations(prefixes, 2):
            if other.startswith(one):
                raise ValueError(
                    f"The decision prefixes must be prefix-free, but {other!r} begins with "
                    f"{one!r}: π(c|x) would count the same text twice."
                )

    def prefixes(self, decision: str) -> tuple[str, ...]:
        """The prefixes that lead to `decision` (`text` or `code`)."""
        return self.code_prefixes if decision == "code" else self.text_prefixes

    def hint(self, decision: str) -> str:
        """What elicits `decision` behind a question."""
        if decision == "text":
            return self.text_hint
        fences = {"{open}": self.code_open.strip(), "{close}": self.code_close.strip()}
        hint = self.code_hint
        for name, fence in fences.items():
            hint = hint.replace(name, fence)
        return hint

    def prefix_of(self, response: str, decision: str | None = None) -> str:
        """The prefix (one of `decision`, if given) that a response begins with, else ""."""
        prefixes = self.prefixes(decision) if decision else self.text_prefixes + self.code_prefixes
        return next((prefix for prefix in prefixes if response.startswith(prefix)), "")


_PLAIN = "Problem: {problem}\nSolution: "
_TOOLS = "{tools}"


def with_tools(markup: Markup, listed: str, functions: Sequence[str]) -> Markup:
    """The markup whose prompts tell of tools. Without tools it is the same.

    listed, functions: all of them as text, and each as JSON. The text stands in place of `{tools}`;
    without that place it is left out where a chat template lists the functions, else stands behind
    the system message, else before the problem.
    """
    if not functions:
        return markup
    texts = {
        "template": _PLAIN if markup.template == "plain" else markup.template,
        "system": markup.system or "",
        "user": markup.user,
    }
    told = {n: text.replace(_TOOLS, listed) for n, text in texts.items() if _TOOLS in text}
    if told or markup.tools:
        pass
    elif markup.system is not None:
        told = {"system": f"{markup.system}\n\n{listed}"}
    elif markup.template == "plain":
        told = {"template": f"{listed}\n\n{_PLAIN}"}
    else:
        name = "user" if markup.template == "chat" else "template"
        told = {name: texts[name].replace("{problem}", f"{listed}\n\n{{problem}}", 1)}
    return dataclasses.replace(markup, functions=tuple(functions), **told)


def prompt_text(question: str, markup: Markup) -> str:
    """The prompt as text, for the `plain` and custom templates (`chat` needs the tokenizer)."""
    template = _PLAIN if markup.template == "plain" else markup.template
    return _filled(template, question)


def messages(question: str, markup: Markup) -> list[dict[str, str]]:
    """The messages of the template `chat`, ready for the tokenizer's chat template."""
    user = {"role": "user", "content": _filled(markup.user, question)}
    if markup.system is None:
        return [user]
    return [{"role": "system", "content": markup.system.replace(_TOOLS, "")}, user]


def _filled(template: str, question: str) -> str:
    """The place of tools is empty where there are none."""
    return template.replace(_TOOLS, "").replace("{problem}", question)


#: The function that `Markup.tools` offers, in the JSON form that chat templates take.
PYTHON_TOOL: dict[str, object] = {
    "type": "function",
    "function": {
        "name": "python",
        "description": "Runs a Python program and returns what it prints.",
        "parameters": {
            "type": "object",
            "properties": {"code": {"type": "string", "description": "The whole program."}},
            "required": ["code"],
        },
    },
}
