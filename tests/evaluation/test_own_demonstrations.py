"""A model's own demonstrations: which rollouts are kept, and what is read back of them."""

from typing import Any

import numpy as np
import pytest

from acim_jax.evaluation import own_demonstrations
from acim_jax.evaluation.own_demonstrations import REASONS
from acim_jax.markup import Markup
from acim_jax.records import Demonstration, Problem, SamplingParams
from tests.support import tiny_models

MARKUP = Markup(
    text_prefixes=("Let me think.\n", "Think.\n"),
    code_prefixes=("Let me code.\n```python\n",),
    text_hint="Think.",
    code_hint="Write {open}, then {close}.",
)
END = tiny_models.load_tokenizer().eos_id
TEXT = [("FORCED", "Let me think.\n"), ("MODEL", "\\boxed{7}")]
CODE = [
    ("FORCED", "Let me code.\n```python\n"),
    ("MODEL", "print(7)\n```"),
    ("OUTPUT", "\n```output\n7\n```\n"),
    ("MODEL", "\\boxed{7}"),
]


def record(pieces: list[tuple[str, str]], sample: int = 0, **changes: Any) -> dict[str, Any]:
    """A finished right rollout of problem `p` in the file `F`."""
    encode = tiny_models.load_tokenizer().encode
    segments = [{"author": author, "token_ids": encode(t).tolist()} for author, t in pieces]
    segments[-1]["token_ids"].append(END)
    decision = "code" if pieces[0][1] == CODE[0][1] else "text"
    return {
        "file": f"{decision} F",
        "problem_id": "p",
        "sample": sample,
        "guide": decision,
        "decision": decision,
        "reward": 1.0,
        "stop": "eos",
        "segments": [{"author": "PROMPT", "token_ids": [5, 6]}, *segments],
        "executions": [{"status": "ok"}] if decision == "code" else [],
        **changes,
    }


def harvested(*records: dict[str, Any], **settings: Any) -> own_demonstrations.Harvest:
    data = {"F": [Problem("p", "Find 7", "7"), Problem("q", "Find 7 too", "7")]}
    tokenizer = tiny_models.load_tokenizer()
    return own_demonstrations.harvest(records, data, tokenizer, MARKUP, seed=0, **settings)


def test_right_rollouts_become_demonstrations_in_the_problem_as_it_was():
    made = harvested(record(TEXT), record(CODE, 1))
    assert made.demonstrations == [
        Demonstration("F:p:text:0", "Find 7", "Let me think.\n\\boxed{7}", "text"),
        Demonstration("F:p:code:1", "Find 7", "".join(text for _, text in CODE), "code"),
    ]
    assert made.counts == {d: {"rollouts": 1, "kept": 1, **dict.fromkeys(REASONS, 0)}
                           for d in ("text", "code")}  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "bad"),
    [
        ("wrong", record(CODE, 1, reward=0.5)),
        ("unfinished", record(TEXT, 1, stop="length")),
        ("other_decision", record(TEXT, 1, stop="broke_guide")),
        ("other_decision", record(CODE, 1, decision="text")),
        ("failed", record(CODE, 1, executions=[{"status": "ok"}, {"status": "timeout"}])),
        ("repeated", record([TEXT[0], ("MODEL", " \\boxed{7}\n")], 1)),
        # The model made up an output; it stopped in front of one; it spelled a word in letters.
        ("rewritten", record([*TEXT, ("MODEL", "\n```output\n7\n```\n\\boxed{7}")], 1)),
        ("rewritten", record([TEXT[0], ("MODEL", "L"), ("MODEL", "et me think \\boxed{7}")], 1)),
    ],
)
def test_others_do_not_and_are_counted(reason: str, bad: dict[str, Any]):
    made = harvested(record(TEXT), record(CODE), bad)
    assert [d.id for d in made.demonstrations] == ["F:p:text:0", "F:p:code:0"]
    counts = made.counts[bad["guide"]]
    assert counts[reason] == 1 and counts["rollouts"] == 2
    assert sum(counts[name] for name in REASONS) == 1


def test_a_program_that_failed_before_a_good_one_is_shown():
    failed_first = record(CODE, executions=[{"status": "error"}, {"status": "ok"}])
    assert len(harvested(record(TEXT), failed_first).demonstrations) == 2


def test_one_decision_alone_gives_nothing():
    made = harvested(record(TEXT), record(CODE, reward=0.0))
    assert made.demonstrations == []
    assert made.counts["text"]["unbalanced"] == made.counts["code"]["wrong"] == 1


def test_by_aptitude_a_problem_shows_the_decision_that_solves_it_more_often():
    """`p` is solved twice by code, once by text; `q` once by either. Equal answers count, but are
    shown once."""
    made = harvested(
        *(record(TEXT), record(TEXT, 1, reward=0.0), record(CODE), record(CODE, 1)),
        *(record(pieces, problem_id="q") for pieces in (TEXT, CODE)),
        choice="aptitude",
    )
    assert [d.id for d in made.demonstrations] == ["F:p:code:0", "F:q:text:0"]
    assert made.counts["text"]["outdone"] == made.counts["code"]["outdone"] == 1
    assert (made.counts["text"]["wrong"], made.counts["code"]["repeated"]) == (1, 1)


def solved(name: str, text: int, code: int) -> list[Demonstration]:
    return [
        Demonstration(f"{name}{d}{i}", "", "", d)
        for d, n in (("text", text), ("code", code))
        for i in range(n)
    ]


def test_decisions_are_balanced_in_each_problem_and_in_total():
    """`a` gives one of each. Of the others, text has three and code four problems alone: three
    demonstrations of each are kept, no problem twice while another has none."""
    problems = [
        solved("a", 3, 1),
        *(solved(name, n, 0) for name, n in (("b", 1), ("c", 1), ("d", 1))),
        *(solved(name, 0, n) for name, n in (("e", 5), ("f", 1), ("g", 1), ("h", 2))),
    ]
    drawn = [own_demonstrations.balanced(problems, seed=seed) for seed in range(20)]
    for kept in drawn:
        assert sum("text" in name for name in kept) == sum("code" in name for name in kept) == 4
        assert "acode0" in kept and len({name[0] for name in kept}) == 1 + 3 + 3
    assert own_demonstrations.balanced(problems, seed=3) == drawn[3]
    assert len({frozenset(kept) for kept in drawn}) > 5


def test_rollouts_are_hinted_and_begin_as_guided_ones_of_a_run():
    problems = [Problem(f"p{i}", f"Find {i}", "7") for i in range(8)]
    asked = own_demonstrations.task(
        {"F": problems}, MARKUP, samples=2, sampling=SamplingParams(0.8), seed=0
    )
    assert list(asked.problems) == ["text F", "code F"]
    assert asked.problems["code F"][3].question == "Find 3\n\nWrite ```python, then ```."
    text = asked.requests(asked.problems["text F"], ("text",), MARKUP, 2)
    assert [(r.problem.id, r.index) for r in text] == [(p.id, i) for p in problems for i in (0, 1)]
    assert {r.prefix for r in text} == set(MARKUP.text_prefixes)
    assert all(r.ends_at_fence and r.problem.question.endswith("\n\nThink.") for r in text)
    code = asked.requests(asked.problems["code F"], ("code",), MARKUP, 1)
    assert {(r.guide, r.prefix, r.ends_at_fence) for r in code} == {
        ("code", MARKUP.code_prefixes[0], False)
    }
    assert np.all([r.problem.answer == "7" for r in code])
