"""The sampler with other families than the embedded model's: its log-probs are the trainer's."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_jax.model import rope_scaling, scoring
from acim_jax.model.config import Experts, ModelConfig
from acim_jax.records import Author
from tests.support import tiny_models

#: Rows are up to 72 tokens long; windows and the positions that RoPE is stretched from, shorter.
MIXED = dataclasses.replace(
    tiny_models.CONFIG,
    qkv_bias=False,
    qk_norm=True,
    experts=Experts(count=6, per_token=2, width=16, normalize=True),
    sliding_window=9,
    full_attention_layers=1,
    rope_scaling=rope_scaling.Dynamic(factor=8.0, original_positions=20),
)
SLIDING = dataclasses.replace(
    tiny_models.CONFIG,
    qkv_bias=False,
    sliding_window=9,
    rope_scaling=rope_scaling.Yarn(factor=4.0, original_positions=16),
)


@pytest.mark.parametrize("config", [MIXED, SLIDING], ids=["experts and dynamic", "all sliding"])
def test_stored_logprobs_are_those_of_the_trainer(config: ModelConfig):
    params = tiny_models.make_params(config)
    sampler = tiny_models.make_sampler(config)
    episodes, _ = tiny_models.run(sampler, tiny_models.requests(), params=params)
    token_ids = np.zeros((len(episodes), 72), np.int32)
    for row, episode in zip(token_ids, episodes, strict=True):
        row[: episode.num_tokens] = episode.token_ids
    score = jax.jit(scoring.token_logprobs, static_argnums=1)
    logprobs = np.asarray(score(params, config, jnp.asarray(token_ids)))
    compared = 0
    for row, episode in enumerate(episodes):
        end = 0
        for segment in episode.segments:
            start, end = end, end + len(segment.token_ids)
            if segment.author is Author.MODEL:
                assert segment.logprobs is not None
                np.testing.assert_allclose(
                    segment.logprobs, logprobs[row, start:end], rtol=0, atol=1e-5
                )
                compared += max(end - max(start, 20), 0)
    assert compared > 200  # tokens beyond the windows and the original positions
