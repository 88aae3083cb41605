"""Answers made of two rollouts, and rollouts behind a hint: which tokens are whose, and what is
learned."""

import dataclasses

import numpy as np
import pytest

from acim_jax.config.run import RunConfig
from acim_jax.explore import filters, plan, transplant
from acim_jax.explore.config import ExploreConfig
from acim_jax.improve import packing
from acim_jax.improve.config import ImproveConfig
from acim_jax.markup import Markup
from acim_jax.records import (
    Author,
    DropReason,
    Episode,
    Example,
    ExecutionResult,
    Problem,
    SamplingParams,
    Segment,
    Status,
    Stop,
)

END = 9
GLUE = transplant.Glue(" No. ", np.array([50, 51], np.int32), np.array([END]), 2)


def made(author: Author, *ids: int) -> Segment:
    tokens = np.array(ids, np.int32)
    logprobs = np.full(tokens.shape, -1.0, np.float32) if author is Author.MODEL else None
    return Segment(author, tokens, logprobs)


def attempt(guide, reward: float, index: int = 0, **changes) -> Episode:
    """Text: prompt 1 2, prefix 3, answer 4 and the end. Code: prefix 5, 6, output 7, 8, the end."""
    text = (made(Author.FORCED, 3), made(Author.MODEL, 4, END))
    code = (
        made(Author.FORCED, 5), made(Author.MODEL, 6), made(Author.OUTPUT, 7),
        made(Author.MODEL, 8, END),
    )  # fmt: skip
    ran = ExecutionResult("7", "7\n", "", Status.OK, 0.1)
    return Episode(
        "p", guide, index, (made(Author.PROMPT, 1, 2), *(code if guide == "code" else text)),
        (ran,) if guide == "code" else (), Stop.EOS, SamplingParams(1.0), reward=reward, text=guide,
        answer=str(reward),
    )  # fmt: skip


def joined(*episodes: Episode, count: int = 9, seed: int = 0, glue=GLUE) -> list[Example]:
    return transplant.reflections(episodes, glue, count, seed=seed, iteration=1)


def test_a_failed_attempt_is_context_and_the_switch_is_learned():
    (one,) = joined(attempt("text", 0.0), attempt("code", 1.0))
    episode = one.episode
    assert (one.advantage, episode.reward, episode.decision) == (1.0, 1.0, "code")
    assert [(s.author.name, s.token_ids.tolist()) for s in episode.segments] == [
        ("PROMPT", [1, 2]), ("FORCED", [3]), ("FORCED", [4]), ("MODEL", [50, 51]),
        ("MODEL", [5]), ("MODEL", [6]), ("OUTPUT", [7]), ("MODEL", [8, END]),
    ]  # fmt: skip
    assert episode.text == "text No. code" and episode.transplanted
    row = packing.example_row(one)
    assert row.weights.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 0, 1, 1]
    assert row.is_recomputed and not row.behaviour_logprobs.any()


def test_the_other_way_round_what_the_failed_program_printed_is_context_too():
    (one,) = joined(attempt("code", 0.0), attempt("text", 1.0))
    row = packing.example_row(one)
    assert row.token_ids.tolist() == [1, 2, 5, 6, 7, 8, 50, 51, 3, 4, END]
    assert row.weights.tolist() == [0] * 6 + [1] * 5
    assert one.episode.calls == 1 and one.episode.answer == "1.0"


def test_what_is_joined_with_what():
    wrong = [attempt("text", 0.0, i) for i in range(3)]
    right = [attempt("code", 1.0, i) for i in range(2)]
    assert joined(*wrong) == joined(*right) == []
    assert joined(attempt("text", 0.0), attempt("text", 1.0)) == [], "one decision"
    assert len(joined(*wrong, *right)) == 2, "each answer once"
    assert len(joined(*wrong, *right, count=1)) == 1
    drawn = {joined(*wrong, *right, count=1, seed=seed)[0].episode.index for seed in range(20)}
    assert drawn == {0, 1}
    cut = dataclasses.replace(wrong[0], stop=Stop.LENGTH)
    native = dataclasses.replace(wrong[0], guide="native")
    elsewhere = dataclasses.replace(wrong[0], problem_id="q")
    other = dataclasses.replace(wrong[0], segments=(made(Author.PROMPT, 1), *wrong[0].segments[1:]))
    for unfit in (cut, native, elsewhere, other):
        assert joined(unfit, *right) == []
    few = GLUE._replace(max_calls=0)
    assert joined(wrong[0], right[0], glue=few) == [], "more programs than a response may run"


def test_behind_a_hint_it_is_sampled_and_without_it_trained():
    markup = Markup(text_hint="In words.", code_hint="By {open}.")
    problems = [Problem("p", "What?", "7")]
    config = ExploreConfig(guide="hint", guided_rollouts=1, native_rollouts=1, keep=1)
    asked = plan.requests(problems, config, markup, seed=0, iteration=1)
    assert [(r.guide, r.problem.question) for r in asked] == [
        ("text", "What?\n\nIn words."), ("code", "What?\n\nBy ```python."), ("native", "What?"),
    ]  # fmt: skip
    moved = transplant.into_prompt(attempt("code", 1.0), np.array([30, 31, 32], np.int32))
    row = packing.example_row(Example(moved, 0.5))
    assert row.token_ids.tolist() == [30, 31, 32, 5, 6, 7, 8, END]
    assert row.weights.tolist() == [0, 0, 0, 0, 1, 0, 1, 1] and row.is_recomputed
    assert filters.refusal(moved, config) is None
    dropped = dataclasses.replace(config, hinted_logprobs="drop")
    assert filters.refusal(moved, dropped) is DropReason.OTHER_CONTEXT
    assert filters.refusal(attempt("code", 1.0), dropped) is None


@pytest.mark.parametrize(
    ("explore", "improve", "message"),
    [
        ({"reflections": 1}, {"max_staleness": 1}, "reflections and hinted rollouts have no log"),
        ({"guide": "hint"}, {"max_staleness": 2}, "reflections and hinted rollouts have no log"),
        ({"guide": "hint", "reward_kl": 0.1}, {"advantage": "rloo"}, "of another prompt"),
    ],
)
def test_what_needs_the_log_probs_of_the_sampler_is_refused(explore, improve, message):
    with pytest.raises(ValueError, match=message):
        RunConfig(explore=ExploreConfig(**explore), improve=ImproveConfig(**improve))
    with pytest.raises(ValueError, match="about guided rollouts, but guided_rollouts is 0"):
        ExploreConfig(guided_rollouts=0, native_rollouts=2, keep=0, reflections=1)
