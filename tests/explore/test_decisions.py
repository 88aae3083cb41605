"""π̂(c|x) and the prefixes' mass from the log-probs of each prefix, scored one text at a time."""

import jax
import numpy as np
import pytest

from acim_jax.explore import decisions
from acim_jax.markup.prefix_rows import PrefixEncoder
from acim_jax.model import scoring
from acim_jax.records import Problem, Stop
from tests.support import tiny_models
from tests.support.episodes import make_episode
from tests.support.tiny_models import CHATTY, CONFIG


@pytest.mark.parametrize(("temperature", "shards"), [(1.0, 1), (0.7, 3)])
def test_policy_and_mass(temperature: float, shards: int, monkeypatch: pytest.MonkeyPatch):
    """Three problems in batches of two, which the encoder pads for its shards."""
    params, tokenizer = tiny_models.make_params(), tiny_models.load_tokenizer()
    problems = tiny_models.problems(3)
    prompts = [tokenizer.prompt_ids(p.question, CHATTY) for p in problems]
    prefixes = [[tokenizer.encode(p) for p in CHATTY.prefixes(d)] for d in ("text", "code")]
    width = 40
    monkeypatch.setattr(decisions, "BATCH_PROBLEMS", 2)
    encoder = PrefixEncoder(tokenizer, CHATTY, width=width, shards=shards)
    found = decisions.prefix_policy(params, problems, encoder, CONFIG, temperature=temperature)
    assert found.policy.shape == (3, 2) and found.mass.shape == (3,)
    score = jax.jit(
        lambda ids: scoring.token_logprobs(params, CONFIG, ids, temperature=temperature)
    )
    for i, prompt in enumerate(prompts):
        probability = np.zeros((2,))
        for c, several in enumerate(prefixes):
            for prefix in several:
                row = np.zeros((1, width), np.int32)
                end = len(prompt) + len(prefix)
                row[0, :end] = np.concatenate([prompt, prefix])
                probability[c] += np.exp(
                    np.asarray(score(row), np.float64)[0, len(prompt) : end].sum()
                )
        np.testing.assert_allclose(found.policy[i], probability / probability.sum(), rtol=1e-4)
        np.testing.assert_allclose(found.mass[i], probability.sum(), rtol=1e-4)
    np.testing.assert_allclose(found.policy.sum(axis=1), 1.0, rtol=1e-12)
    assert 0 < found.mass.max() < 1e-3, "a random model hardly ever begins in either way"


def test_a_policy_of_equal_tokens_prefers_the_shorter_prefixes():
    """Weights of 0 give every token 1/V: a prefix of n tokens has V⁻ⁿ, whatever the prompt."""
    params = jax.tree.map(lambda x: 0 * x, tiny_models.make_params())
    tokenizer = tiny_models.load_tokenizer()
    encoder = PrefixEncoder(tokenizer, CHATTY, width=40)
    found = decisions.prefix_policy(params, tiny_models.problems(2), encoder, CONFIG)
    lengths = [[len(tokenizer.encode(p)) for p in CHATTY.prefixes(d)] for d in ("text", "code")]
    text, code = (sum(CONFIG.vocab_size**-n for n in several) for several in lengths)
    assert 0.5 < code / (text + code) < 1, "not the prefixes it should be"
    expected = np.array([text, code]) / (text + code)
    np.testing.assert_allclose(found.policy, np.tile(expected, (2, 1)), rtol=1e-4)
    np.testing.assert_allclose(found.mass, text + code, rtol=1e-4)


@pytest.mark.parametrize(
    ("problems", "sizes"), [(0, []), (1, [1]), (5, [8]), (32, [32]), (75, [32, 32, 16])]
)
def test_batches_are_powers_of_two(problems: int, sizes: list[int]):
    assert [*decisions.batch_sizes(problems)] == sizes


def test_frequency_counts_what_native_rollouts_did():
    """Laplace's rule: (executed + 1) / (rollouts + 2); guided and failed rollouts do not count."""
    problems = [Problem(name, "q", "a") for name in ("a", "b", "c")]
    episodes = [
        *[make_episode("a", "native", 0.0, executed=i < 1) for i in range(6)],
        make_episode("a", "code", 1.0, executed=True),
        make_episode("a", "native", 0.0, executed=True, stop=Stop.INFRA),
        *[make_episode("b", "native", 0.0, executed=True) for _ in range(8)],
        make_episode("c", "text", 0.0),
    ]
    found = decisions.frequency_policy(problems, episodes)
    np.testing.assert_allclose(found, [[6 / 8, 2 / 8], [1 / 10, 9 / 10], [0.5, 0.5]])
