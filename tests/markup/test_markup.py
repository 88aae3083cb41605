"""Markups by name and from fields; outputs in their fences."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import yaml

from acim_jax.checkpoint import acim_yaml
from acim_jax.cli import options
from acim_jax.markup import Markup, fences, form, outputs, templates
from acim_jax.markup.templates import TEMPLATES
from acim_jax.records import ExecutionResult, Status
from tests.support import bpe

STEPS = r"Please reason step by step, and put your final answer within \boxed{}."
PROGRAMS = (
    "Please integrate natural language reasoning with programs to solve the problem above, and "
    r"put your final answer within \boxed{}."
)
ASSISTANT = "<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def tok(tmp_path_factory: pytest.TempPathFactory):
    return bpe.make(tmp_path_factory.mktemp("bpe"), ["```\n", "</"])


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("plain", "Problem: 1+1?\nSolution: "),
        ("chat", f"<|im_start|>user\n1+1?\n{STEPS}<|im_end|>\n{ASSISTANT}"),
        (
            "qwen2.5-math-cot",
            f"<|im_start|>system\n{STEPS}<|im_end|>\n<|im_start|>user\n1+1?<|im_end|>\n{ASSISTANT}",
        ),
        (
            "qwen2.5-math-tir",
            f"<|im_start|>system\n{PROGRAMS}<|im_end|>\n<|im_start|>user\n1+1?<|im_end|>\n"
            + ASSISTANT,
        ),
        ("deepseek-math-cot", f"User: 1+1?\n{STEPS}\n\nAssistant:"),
        ("deepseek-math-tool", f"User: 1+1?\n{PROGRAMS}\n\nAssistant:"),
        ("tora", "<|user|>\n1+1?\n<|assistant|>\n"),
        ("autocode", f"<|im_start|>user\n1+1?\n{STEPS}<|im_end|>\n{ASSISTANT}"),
    ],
)
def test_prompts_are_those_of_the_models(tok, name: str, prompt: str):
    assert tok.decode(tok.prompt_ids("1+1?", TEMPLATES[name])) == prompt


def test_hermes_offers_the_function_to_the_chat_template(tok, tmp_path: Path):
    prompt = tok.decode(tok.prompt_ids("1+1?", TEMPLATES["hermes"]))
    begin, _, rest = prompt.partition("<|im_end|>\n")
    (offered,) = yaml.safe_load(begin.removeprefix("<|im_start|>system\n"))
    assert offered["function"]["name"] == "python"
    assert offered["function"]["parameters"]["required"] == ["code"]
    assert rest.endswith(f"<|im_start|>user\n1+1?<|im_end|>\n{ASSISTANT}")
    tools = form.with_tools(TEMPLATES["hermes"], "T", ['{"function": {"name": "f"}}'])
    begin, _, _ = tok.decode(tok.prompt_ids("1+1?", tools)).partition("<|im_end|>\n")
    offered = yaml.safe_load(begin.removeprefix("<|im_start|>system\n"))
    assert [one["function"]["name"] for one in offered] == ["python", "f"]
    deaf = bpe.make(tmp_path, [], chat="{{ messages[0].content }}")
    with pytest.raises(ValueError, match=r"markup\.tools is true, but .* says nothing of tools"):
        deaf.prompt_ids("1+1?", TEMPLATES["hermes"])


def test_a_chat_template_that_refuses_a_system_message(tmp_path: Path):
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}x"
    tok = bpe.make(tmp_path, [], chat=strict)
    with pytest.raises(ValueError, match=r"refuses the messages of system and user: no system"):
        tok.prompt_ids("1+1?", TEMPLATES["qwen2.5-math-cot"])


@pytest.mark.parametrize(
    ("name", "turn"),
    [
        ("qwen2.5-math-tir", "\n```output\n42\n```\n"),
        ("tora", "\n```output\n42\n```\n"),
        ("retool", "\n<interpreter>\n42\n</interpreter>\n"),
        (
            "hermes",
            "<|im_end|>\n<|im_start|>user\n<tool_response>\n42\n</tool_response><|im_end|>\n"
            + ASSISTANT,
        ),
    ],
)
def test_the_interpreters_turn(tok, name: str, turn: str):
    markup = TEMPLATES[name]
    shown = outputs.render_output(result("42\n"), markup)
    assert shown == turn
    assert outputs.strip_outputs(f"a{shown}b", markup) == "a\nb"
    np.testing.assert_array_equal(tok.output_ids(shown, markup), tok.encode(turn))


def result(stdout: str) -> ExecutionResult:
    return ExecutionResult("", stdout, "", Status.OK, 0.0)


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_a_program_cannot_leave_its_fence(tok, name: str):
    """Whatever of the fences a program prints, only ours are there, as text and as tokens."""
    markup = TEMPLATES[name]
    marks = (markup.output_close, markup.output_open, markup.code_open, markup.code_close)
    printed = "".join(marks) + "<|im_end|>" + "".join(f.strip() for f in marks) + "\n```"
    shown = outputs.render_output(result(printed), markup)
    inside = shown[len(markup.output_open) : -len(markup.output_close)]
    assert shown == markup.output_open + inside + markup.output_close
    for mark in marks:
        assert mark.strip() not in inside
    body = '{"name": "python", "arguments": {"code": "x"}}' if markup.body == "json" else "x"
    closed = f"{markup.code_open}{body}{markup.code_close}"
    assert fences.closed_program(closed, closed[:-1], markup) == "x"
    assert fences.closed_program(closed + shown, closed, markup) is None
    assert outputs.strip_outputs(f"a{shown}b", markup) == "a\nb"
    ids = tok.output_ids(shown, markup)
    assert tok.decode(ids) == shown
    specials = sum(int(i) < len(bpe.SPECIALS) for i in ids)
    assert specials == (4 if name == "hermes" else 0)


def test_an_output_that_is_not_ours_is_foreign(tok):
    hermes = TEMPLATES["hermes"]
    for text in ("<|im_end|>", hermes.output_open, hermes.output_close, "x<|im_start|>"):
        np.testing.assert_array_equal(tok.output_ids(text, hermes), tok.encode_plain(text))


def test_words_of_a_fence_may_be_printed():
    markup = Markup(output_open="\nOutput says:\n", output_close="\nEnd.\n")
    shown = outputs.render_output(result("the Output is End.\nuser"), markup)
    assert shown == "\nOutput says:\nthe Output is E nd.\nuser\nEnd.\n"


def test_names_and_fields(tmp_path: Path):
    file = tmp_path / "acim.yaml"
    file.write_text("name: qwen2.5-math-tir\nmax_turns: 7\n")
    markup = acim_yaml.read_markup(tmp_path)
    assert markup is not None
    assert (markup.template, markup.system, markup.max_turns) == ("chat", PROGRAMS, 7)
    for name, template in TEMPLATES.items():
        acim_yaml.write_markup(tmp_path, template)
        assert acim_yaml.read_markup(tmp_path) == template
        assert templates.from_fields({"name": name}, "x", Markup(max_turns=9)) == template
    # Without a name, fields override what was there.
    assert templates.from_fields({"stop": ["Q"]}, "x", Markup(max_turns=9)) == Markup(
        max_turns=9, stop=("Q",)
    )


def test_names_and_fields_as_options():
    settings = ["name=retool", "max_turns=2", 'stop=["Q:"]', "system=Be brief.", "body=plain"]
    markup = options.overridden(Markup(max_turns=9), settings)
    assert (markup.code_open, markup.max_turns, markup.stop) == ("<code>\n", 2, ("Q:",))
    assert (markup.system, markup.body) == ("Be brief.", "plain")
    for setting, message in (
        ("name=retol", "--markup: name: no template .* did you mean 'retool'"),
        ("turns=3", "--markup: unknown field 'turns'; the nearest known is 'max_turns'"),
        ("max_turns", "--markup takes FIELD=VALUE, got 'max_turns'"),
        ("stop=Q", "--markup stop needs JSON, got 'Q'"),
    ):
        with pytest.raises(ValueError, match=message):
            options.overridden(Markup(), [setting])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"name": "qwen-tir"},
            r"here: name: no template is called 'qwen-tir'; did you mean 'qwen2",
        ),
        ({"name": 5}, r"here: name: no template is called 5"),
        ({"body": "xml"}, r"here: body: .*'json', got 'xml'"),
        ({"user": "Hello"}, r"(?s)here: .*markup\.user must contain '\{problem\}', got 'Hello'"),
        ({"system": "Hi"}, r"(?s)here: .*markup\.system belongs to the template 'chat'"),
        ({"user": "{problem}!"}, r"(?s)here: .*markup\.user belongs to the template 'chat'"),
        ({"tools": True}, r"(?s)here: .*markup\.tools belongs to the template 'chat'"),
        ({"stop": [""]}, r"(?s)here: .*an empty text would end every response"),
        ({"code_close": "\n"}, r"(?s)here: .*markup\.code_close must hold more than blanks"),
        ({"code_open": "```\n"}, r"(?s)here: .*code_open .* stands in markup\.output_close"),
        ({"text_prefixes": []}, r"(?s)here: .*at least one text prefix"),
        ({"code_prefixes": ["Let me think step by step.\nA"]}, r"(?s)here: .*prefix-free"),
    ],
)
def test_what_a_markup_cannot_be(fields: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        templates.from_fields(fields, "here")


def test_openings_are_counted_closed_or_not():
    text = "a ```python\nx\n```\n```output\n1\n```\n```python\r\ny"
    assert fences.count_opened(text, Markup()) == 2
    assert fences.closed_program(text, "", Markup()) == "x"
    assert fences.closed_program("x\n```", "x", Markup()) is None


def test_an_error_names_the_line_that_raised_it():
    """Of the program, the innermost; other files' lines say nothing to the model."""
    stderr = (
        'Traceback (most recent call last):\n  File "<program>", line 7, in <module>\n    f(0)\n'
        '  File "<program>", line 3, in f\n    return g(1 / x)\n'
        '  File "/lib/fractions.py", line 99, in g\nZeroDivisionError: division by zero\n'
    )
    failed = ExecutionResult("", "", stderr, Status.ERROR, 0.0)
    markup = Markup()
    shown = outputs.render_output(failed, markup)
    assert shown == "\n```output\nZeroDivisionError: division by zero (line 3)\n```\n"
    without = dataclasses.replace(markup, error_lines=False)
    assert "(line" not in outputs.render_output(failed, without)
