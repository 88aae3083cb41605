"""Programs and stops found token by token, whatever a byte-level BPE merges around the fences."""

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acim_jax.markup import Markup, tokenizer
from acim_jax.markup.templates import TEMPLATES
from tests.support import bpe

#: Each is what one tokenizer merges. The first merges nothing at all.
MERGES: dict[str, list[str]] = {
    "bytes": [],
    "runs": ["```", "\n\n", "````", "``"],
    "newline before": ["\n```", "\n``", "x\n```", ")\n```"],
    "newline after": ["```\n", "`\n", "``\n\n", "```\r\n"],
    "both sides": ["\n```\n", ")\n```\n\nSo", "```python\n", "\n```python\nprint("],
    "text behind": ["```output", "```.", "` ", "`The", "```é"],
    "whole program": ["```python\nx\n```\nSo", "```python\n```"],
    "tags": ["</", "</code", ">\n", "\n</code>", "</code>\nSo", "</tool", "_call>", '"}}\n</'],
    "split characters": ["\N{GRINNING FACE}", "é`", "\n```\N{EURO SIGN}"],
}
FENCED = Markup()
PARTS = [
    "```python\n", "\n```", "```", "``", "`", "\n", "\r\n", "\r", "x", ")", "print(1)", " ", "é",
    "\N{GRINNING FACE}", "\N{EURO SIGN}", "So", "The", "s = '```'", "'''\na ``` b'''", "output",
    ".", "```python\nprint(", "````", "```py",
]  # fmt: skip
TAGS = [
    "<code>\n", "\n</code>", "</code>", "<code>", "</", ">", "\n", "x", "'</code>'", "```python\n",
    "\n```", "So", "é", "\r\n",
]  # fmt: skip


@pytest.fixture(scope="module", params=MERGES)
def tok(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    return bpe.make(tmp_path_factory.mktemp("bpe"), MERGES[request.param])


def detections(tok: tokenizer.Tokenizer, text: str, markup: Markup) -> list[tuple[int, str]]:
    """Token by token: after how many tokens a program was found, and the program."""
    ids, halting = tok.encode_plain(text), tok.halting_ids(markup)
    found: list[tuple[int, str]] = []
    for count in range(1, len(ids) + 1):
        program = tok.closed_program(ids[:count], markup)
        if program is not None:
            assert halting[ids[count - 1]], "a token that closes a fence must halt its row"
            found.append((count, program))
    return found


def expected(
    tok: tokenizer.Tokenizer, text: str, opening: str, closing: str
) -> list[tuple[int, str]]:
    """The same from the text's bytes: fences found one after another by a single expression.

    A program of no lines shares its newline with both fences.
    """
    pattern = re.compile(
        rf"{opening}\r?\n{closing}|{opening}\r?\n(?P<lines>.*?)\r?\n{closing}",
        re.DOTALL,
    )
    # The bytes that each token ends at, from the tokens' own letters.
    ids = tok.encode_plain(text)
    ends = np.cumsum([len(bpe.token_bytes(tok, int(i))) for i in ids])
    assert ends[-1] == len(text.encode())
    found: list[tuple[int, str]] = []
    for match in pattern.finditer(text):
        end = len(text[: match.end()].encode())
        count = int(np.searchsorted(ends, end)) + 1
        found.append((count, match.group("lines") or ""))
    # Of several programs that one token closes, the first is run.
    return [one for n, one in enumerate(found) if n == 0 or found[n - 1][0] != one[0]]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(PARTS), min_size=1, max_size=14).map("".join))
def test_a_program_is_found_at_the_token_that_closes_its_fence(tok: tokenizer.Tokenizer, text: str):
    assert detections(tok, text, FENCED) == expected(tok, text, "```python", "```")


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(TAGS), min_size=1, max_size=12).map("".join))
def test_tags_likewise(tok: tokenizer.Tokenizer, text: str):
    plain = Markup(code_open="<code>\n", code_close="\n</code>")
    assert detections(tok, text, plain) == expected(tok, text, "<code>", "</code>")


@pytest.mark.parametrize(
    ("program", "behind"),
    [
        ("print(6*7)", ""),
        ("s = '```'\nprint(s)", "\n"),
        ("print('''```python''')", " \n\nSo"),
        ("x = '\N{GRINNING FACE}é'", ".The"),
        ("", "\n"),
        ("a\r\nb", "\r\n"),
        ("x = 1", "`"),
    ],
)
def test_known_programs(tok: tokenizer.Tokenizer, program: str, behind: str):
    text = f"Let me see.\n```python\n{program}\n```{behind}"
    ((count, found),) = detections(tok, text, FENCED)
    assert found == program
    ids = tok.encode_plain(text)
    assert "\n```" not in tok.decode(ids[: count - 1]).partition("```python\n")[2]
    # What its last token holds beyond the fence is kept: tokens are never cut.
    assert tok.decode(ids) == text


def test_what_is_not_closed_is_not_run(tok: tokenizer.Tokenizer):
    for text in (
        "```python\nx",
        "```python\nx ```",
        "x\n```",
        "```python x\n```",
        "``python\nx\n```",
    ):
        assert detections(tok, text, FENCED) == []


def test_an_output_between_two_programs_is_neither(tok: tokenizer.Tokenizer):
    turn = "```python\nprint(1)\n```"
    text = f"{turn}\n```output\n1\n```\nAgain:\n{turn}"
    found = detections(tok, text, FENCED)
    assert [program for _, program in found] == ["print(1)"] * 2


@pytest.mark.parametrize(
    ("content", "program"),
    [
        ('{"name": "python", "arguments": {"code": "\\"</tool_call>\\"\\n"}}', '"</tool_call>"\n'),
        ('{"name": "python", "arguments": {"code": "x = \'\\u00e9\\\\n\'"}}', "x = 'é\\n'"),
        ('{"name": "bash", "arguments": {"code": "ls"}}', None),
        ('{"name": "python", "arguments": "print(1)"}', None),
        ('{"name": "python", "arguments": {"code": 5}}', None),
        ('{"name": "python", "arguments": {"code": "x"}} // done', None),
        ("{'name': 'python', 'arguments': {'code': 'x'}}", None),
        ("__import__('os').system('true')", None),
        ("[" * 100_000, None),
    ],
)  # fmt: skip
def test_calls_are_json_and_nothing_else(
    tok: tokenizer.Tokenizer, content: str, program: str | None
):
    ids = tok.encode_plain(f"So:\n<tool_call>\n{content}\n</tool_call>")
    assert tok.closed_program(ids, TEMPLATES["hermes"]) == program


@pytest.mark.parametrize(
    "content",
    ["print(1)", "```python\nprint(1)\n```", "```\nprint(1)```\n", "\n```py\nprint(1)\n```"],
)
def test_a_fence_between_tags_is_taken_off(tok: tokenizer.Tokenizer, content: str):
    ids = tok.encode_plain(f"<code>\n{content}\n</code>")
    assert tok.closed_program(ids, TEMPLATES["retool"]) == "print(1)"


STOPS = Markup(stop=("\n\nQ", "```output", "<|im_start|>"))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from([*PARTS, "Q", "\n\n", "put"]), min_size=1).map("".join))
def test_a_response_ends_at_the_token_that_completes_a_stop(tok: tokenizer.Tokenizer, text: str):
    ids, halting = tok.encode_plain(text), tok.halting_ids(STOPS)
    ends = np.cumsum([len(bpe.token_bytes(tok, int(i))) for i in ids])
    completed = {
        int(np.searchsorted(ends, len(text[: at + len(stop)].encode()))) + 1
        for stop in STOPS.stop
        for at in range(len(text))
        if text.startswith(stop, at)
    }
    found = {n for n in range(1, len(ids) + 1) if tok.ends_response(ids[:n], STOPS)}
    assert found == completed
    assert all(halting[ids[n - 1]] for n in found)


def test_a_special_token_is_a_stop_by_its_id_alone(tok: tokenizer.Tokenizer):
    assert tok.text_stops(STOPS) == STOPS.stop[:2]
    assert set(tok.stop_ids(STOPS).tolist()) >= set(tok.encode("<|im_start|><|im_end|>").tolist())
    spelled = tok.encode_plain("<|im_start|>")
    assert len(spelled) > 1
    assert not tok.ends_response(spelled, STOPS)
    assert not tok.ends_response(spelled, FENCED)


def test_few_tokens_are_decoded_where_no_fence_closes(tok: tokenizer.Tokenizer):
    """A long response costs no more than a short one, but where a fence does close."""
    decoded: list[int] = []

    class Counting(tokenizer.Tokenizer):
        def decode(self, token_ids: np.ndarray, *, skip_special: bool = False) -> str:
            decoded.append(len(token_ids))
            return super().decode(token_ids, skip_special=skip_special)

    counting = Counting(**{f.name: getattr(tok, f.name) for f in dataclasses.fields(tok)})
    ids = tok.encode_plain("```python\n" + "x = 'é```'\n" * 500)
    for count in range(len(ids) - 50, len(ids) + 1):
        assert counting.closed_program(ids[:count], FENCED) is None
        assert not counting.ends_response(ids[:count], STOPS)
    assert max(decoded) <= 40 < 500 <= len(ids)
