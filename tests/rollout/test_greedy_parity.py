"""The sampler's greedy tokens against transformers' `generate`, on stored tiny models."""

import dataclasses
import json

import numpy as np
import pytest

from acim_jax.checkpoint import hf_config, hf_import
from acim_jax.markup import Markup
from acim_jax.records import Author, Problem, RolloutRequest, SamplingParams
from acim_jax.rollout import converse
from acim_jax.rollout.sampler import Sampler
from acim_jax.sampling.config import SamplingConfig
from tests.support import golden, golden_folders


class Ids:
    """A tokenizer whose texts are lists of ids in JSON; nothing ends a response."""

    eos_id = 0

    def encode(self, text: str) -> np.ndarray:
        return np.array(json.loads(text), np.int32)

    def decode(self, token_ids: np.ndarray) -> str:
        return json.dumps(token_ids.tolist())

    def prompt_ids(self, question: str, markup: Markup) -> np.ndarray:
        return self.encode(question)

    def output_ids(self, text: str, markup: Markup) -> np.ndarray:
        return self.encode(text)

    def halting_ids(self, markup: Markup) -> np.ndarray:
        return np.zeros((1,), bool)

    def opening_ids(self, markup: Markup) -> np.ndarray:
        return np.zeros((1,), bool)

    def opens_program(self, token_ids: np.ndarray, markup: Markup) -> bool:
        return False

    def stop_ids(self, markup: Markup) -> np.ndarray:
        return np.zeros((0,), np.int32)

    def text_stops(self, markup: Markup) -> tuple[str, ...]:
        return ()

    def closed_program(self, token_ids: np.ndarray, markup: Markup) -> str | None:
        return None

    def ends_response(self, token_ids: np.ndarray, markup: Markup) -> bool:
        return False


@pytest.mark.parametrize("case", ["qwen2_default", "qwen3_yarn", "llama_llama3", "mistral_default"])
def test_64_greedy_tokens(case: str, tmp_path):
    folder = golden_folders.write(case, tmp_path / "model")
    config = dataclasses.replace(
        hf_config.read_config(folder), dtype="float32", param_dtype="float32"
    )
    theirs = golden.expected(case)
    given = golden.token_ids(int(theirs["seed"]), config.vocab_size)
    prompts = [row[:n] for row, n in zip(given, golden.PROMPTS, strict=True)]
    wanted = [
        RolloutRequest(
            Problem(str(i), json.dumps(prompt.tolist()), ""),
            "native",
            index,
            max_tokens=golden.NEW_TOKENS,
        )
        for i, prompt in enumerate(prompts)
        for index in range(2)  # so that a prompt is shared
    ]
    shapes = SamplingConfig(slots=3, max_length=96, chunk=7, prefill_buckets=(5,), page_size=16)
    episodes, stats = converse.converse(
        hf_import.load(folder, config),
        wanted,
        Sampler(config, shapes, Ids(), Markup()),
        None,
        seed=0,
        iteration=0,
        sampling=SamplingParams(0.0),
    )
    for request, episode in zip(wanted, episodes, strict=True):
        (tokens,) = [s.token_ids for s in episode.segments if s.author is Author.MODEL]
        expected = theirs["greedy"][int(request.problem.id)]
        np.testing.assert_array_equal(tokens, expected)
    assert stats.prefill_tokens == sum(len(prompt) - 1 for prompt in prompts)
