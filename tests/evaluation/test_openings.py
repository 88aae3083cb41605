"""Openings: what counts as one, what it costs, and which lists are proposed."""

import jax
import numpy as np
import pytest

from acim_jax.evaluation import openings
from acim_jax.evaluation.openings import Beginning, Scored
from acim_jax.markup import Markup
from acim_jax.model import scoring
from acim_jax.records import Problem
from tests.support import tiny_models
from tests.support.tiny_models import CHATTY, CONFIG

MARKUP = Markup()


def beginning(text: str) -> Beginning:
    return Beginning(tiny_models.load_tokenizer().encode(text), text)


def scored(text: str, decision: str, *probabilities: float) -> Scored:
    logprobs = np.log(np.array(probabilities))[:, None]
    return Scored(text, decision, np.zeros((1,), np.int32), logprobs)


def test_openings_of_text_are_words_and_those_of_code_reach_to_the_fence():
    tokenizer = tiny_models.load_tokenizer()
    found = openings.candidates(
        {
            "own": [beginning("Let me think.\nTen"), beginning("Let me code.\n```python\n1")],
            "code": [beginning("Let me code.\n```python\n2")] * 3,
        },
        MARKUP,
        tokenizer,
    )
    assert found["code"] == ["```python\n", "Let me code.\n```python\n"]
    assert found["text"] == ["Let me think.\n", "Let me think.\nTen"], "Let me mostly leads to code"


def test_an_opening_has_the_tokens_that_were_sampled():
    """A model that spells a word in other tokens would not go on behind ours as it does."""
    tokenizer = tiny_models.load_tokenizer()
    letters = np.concatenate([tokenizer.encode(letter) for letter in "Let"])
    assert len(letters) > len(tokenizer.encode("Let"))
    found = openings.candidates({"own": [Beginning(letters, "Let")]}, MARKUP, tokenizer)
    assert found["text"] == []


def test_log_probabilities_are_those_of_each_text_alone():
    """More texts than a row takes and more problems than a batch, under prompts of all lengths."""
    params, tokenizer = tiny_models.make_params(), tiny_models.load_tokenizer()
    problems = tiny_models.problems(11)
    texts = {"text": [f"In {i}" for i in range(40)], "code": ["t", "Code"]}
    found = openings.score(params, problems, texts, CHATTY, tokenizer, CONFIG)
    assert [(o.decision, o.text) for o in found] == [(d, t) for d, s in texts.items() for t in s]
    score = jax.jit(scoring.token_logprobs, static_argnums=1)
    for one in (found[0], found[33], found[-1]):
        for p in (0, 7, 10):
            prompt = tokenizer.prompt_ids(problems[p].question, CHATTY)
            row = np.concatenate([prompt, one.token_ids])[None]
            expected = np.asarray(score(params, CONFIG, row))[0, len(prompt) :]
            np.testing.assert_allclose(one.logprobs[p], expected, rtol=0, atol=1e-5)


def test_a_proposal_is_prefix_free_and_prefers_what_is_probable():
    proposed = openings.propose(
        [
            scored("To", "text", 0.70, 0.80),
            scored("To solve", "text", 0.30, 0.40),
            scored("Let", "text", 0.20, 0.10),
            scored("Let us", "text", 0.20, 0.09),
            scored("Albert", "text", 0.0001, 0.009),
            scored("We", "text", 0.01, 0.01),
            scored("```python\n", "code", 1e-4, 1e-6),
            scored("We compute:\n```python\n", "code", 1e-3, 1e-3),
            scored("Rare:\n```python\n", "code", 1e-5, 1e-5),
        ]
    )
    texts = {d: [o.text for o in proposed if o.decision == d] for d in ("text", "code")}
    assert texts["code"] == ["We compute:\n```python\n"], "its best is kept, whatever it costs"
    assert texts["text"] == ["To", "Let us"], "a name of one problem and what begins code are not"
    np.testing.assert_allclose(openings.mass(proposed), [0.901, 0.891])
    np.testing.assert_allclose(openings.policy_code(proposed), [1e-3 / 0.901, 1e-3 / 0.891])


@pytest.mark.parametrize(
    ("prompt", "question"),
    [
        ("own", "1+1"),
        ("text", f"1+1\n\n{MARKUP.text_hint}"),
        ("code", "1+1\n\nSolve it by a program that prints the answer, written between ```python "
         "and ```."),
    ],
)  # fmt: skip
def test_a_hint_stands_behind_the_question(prompt: str, question: str):
    assert openings.hinted(Problem("a", "1+1", "2"), prompt, MARKUP).question == question
