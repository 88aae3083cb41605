"""`keep: 0` pushes the policy as sampling does on average, measured on gradients of the M-step."""

import dataclasses

import jax
import numpy as np
import pytest

from acim_jax.explore import curate
from acim_jax.explore.config import ExploreConfig
from acim_jax.improve import packing, step
from acim_jax.improve.config import PolicyObjective
from acim_jax.records import DecisionValues, Episode, Example
from tests.support import tiny_models
from tests.support.episodes import make_episode

MODEL = dataclasses.replace(tiny_models.CONFIG, num_layers=1)
ROLLOUTS, KEEP, DRAWS = 4, 3, 400
NAN = np.full((2,), np.nan)


def make_episodes() -> list[Episode]:
    """Three queries; lengths, and how many are right, differ by query and guide. Of the third one
    all text rollouts are right: they are drawn, and have no advantage."""
    draw, made = np.random.default_rng(0), []
    for q, rights in enumerate(((1, 2), (3, 1), (4, 2))):
        for c, guide in enumerate(("text", "code")):
            for i in range(ROLLOUTS):
                one = make_episode(
                    f"q{q}", guide, float(i < rights[c]), index=i, tokens=5 + q + 4 * c + i % 2
                )  # pyright: ignore[reportArgumentType]
                prompt, own = one.segments
                ids = draw.integers(1, 600, len(own.token_ids)).astype(np.int32)
                logprobs = np.full(len(ids), -6.4, np.float32)
                own = dataclasses.replace(own, token_ids=ids, logprobs=logprobs)
                made.append(dataclasses.replace(one, segments=(prompt, own)))
    return made


def curated(episodes, code: float, keep: int, seed: int = 0) -> tuple[list[Example], float]:
    config = ExploreConfig(guided_rollouts=ROLLOUTS, keep=keep)
    ids = list(dict.fromkeys(e.problem_id for e in episodes))
    values = [DecisionValues(p, NAN, NAN, NAN, NAN, 1.0, NAN) for p in ids]
    kept, counts = curate.examples(
        episodes,
        values,
        {p: np.array([1 - code, code]) for p in ids},
        config,
        advantage="normalised",
        fits=lambda e: True,
        seed=seed,
        iteration=1,
    )
    return kept, counts.drawn_tokens


def push(params, examples: list[Example], drawn_tokens: float) -> np.ndarray:
    """The gradient of the policy term of an iteration, as one vector."""
    gradients = step.zeros(params)
    rows = [packing.example_row(example) for example in examples]
    for batch in packing.microbatches(rows, (16,), 8):
        gradients, _ = step.add_policy_gradient(
            gradients, params, batch, np.float32(drawn_tokens), np.float32(1.0),
            config=MODEL, objective=PolicyObjective(clip_epsilon=100.0),
        )  # fmt: skip
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(gradients)]).astype(np.float64)


@pytest.mark.parametrize("code", [0.1, 0.5, 0.9])
def test_keeping_all_is_the_mean_of_sampling(code: float):
    """Along its own direction, over DRAWS draws, within four of their standard errors, which are a
    few percent; a weight without the denominator would be off by factors of 0.2 to 1.8."""
    params, episodes = tiny_models.make_params(MODEL), make_episodes()
    everything = push(params, *curated(episodes, code, keep=0))
    size = np.linalg.norm(everything)
    # A draw's push is the sum of its rollouts' over its denominator, so each is computed once.
    candidates, _ = curated(episodes, 0.5, keep=0)
    along = {
        id(e.episode): push(params, [dataclasses.replace(e, weight=1.0)], 1.0) @ everything / size
        for e in candidates
    }
    draws = [curated(episodes, code, KEEP, seed) for seed in range(DRAWS)]
    pushes = np.array([sum(along[id(e.episode)] for e in kept) / drawn for kept, drawn in draws])
    one, drawn = draws[0]
    np.testing.assert_allclose(pushes[0], push(params, one, drawn) @ everything / size, rtol=1e-3)
    error = pushes.std(ddof=1) / np.sqrt(DRAWS)
    assert error < 0.06 * size
    assert abs(pushes.mean() - size) < 4 * error
