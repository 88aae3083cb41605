"""π̂(c|x) and the prefixes' mass from the log-probs of each prefix, scored one text at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_jax.explore import decisions
from acim_jax.improve import packing
from acim_jax.model import scoring
from tests.support import tiny_models
from tests.support.tiny_models import CHATTY, CONFIG


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_policy_and_mass(temperature: float):
    params, tokenizer = tiny_models.make_params(), tiny_models.load_tokenizer()
    prompts = [tokenizer.prompt_ids(p.question, CHATTY) for p in tiny_models.problems(3)]
    prefixes = [[tokenizer.encode(p) for p in CHATTY.prefixes(d)] for d in ("text", "code")]
    width = 40
    batches = []
    for part in (prompts[:2], prompts[2:]):
        even = [np.full((2,), 0.5)] * len(part)
        batch = packing.decision_batch(part, prefixes, even, width=width, num_rows=2)
        batches.append(
            decisions.PrefixRows(jnp.asarray(batch.token_ids), jnp.asarray(batch.is_prefix))
        )
    found = decisions.prefix_policy(params, batches, CONFIG, temperature=temperature)
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
    np.testing.assert_allclose(found.policy[:3].sum(axis=1), 1.0, rtol=1e-12)
    assert 0 < found.mass[:3].max() < 1e-3, "a random model hardly ever begins in either way"
