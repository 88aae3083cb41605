"""π̂ by the hazard of a fence, from log-probs of texts that are scored one at a time."""

import dataclasses

import jax
import numpy as np

from acim_jax.explore import hazard
from acim_jax.model import scoring
from acim_jax.records import Author, Problem, Segment
from tests.support import tiny_models
from tests.support.episodes import make_episode
from tests.support.tiny_models import CONFIG

WIDTH, TEMPERATURE = 64, 0.8
FENCE = "xy"


def written(problem: str, response: str, guide: str = "text", **changes):
    """An episode whose prompt is the problem's name and whose response is a text."""
    encode = tiny_models.load_tokenizer().encode
    ids = encode(response)
    segments = (
        Segment(Author.PROMPT, encode(f"{problem}?")),
        Segment(Author.MODEL, ids, np.zeros((len(ids),), np.float32)),
    )
    return dataclasses.replace(make_episode(problem, guide, 0.0), segments=segments, **changes)


def test_a_text_could_open_a_fence_at_every_line():
    params, tokenizer = tiny_models.make_params(), tiny_models.load_tokenizer()
    texts = {"a": ["one\ntwo\n\nthree", "1 + 1"], "b": ["4\n"]}
    episodes = [written(p, text) for p, several in texts.items() for text in several]
    episodes += [written("b", "t\nt\n", "code"), written("b", "u\n", fences_opened=1)]
    problems = [Problem(name, "q", "a") for name in ("b", "a", "c")]
    fence = tokenizer.encode(FENCE)
    found = hazard.hazard_policy(
        params, problems, episodes, fence, tokenizer.line_ends(), CONFIG,
        width=WIDTH, temperature=TEMPERATURE,
    )  # fmt: skip
    score = jax.jit(scoring.token_logprobs, static_argnums=1)

    def stays_text(problem: str, response: str) -> float:
        prompt, ids = tokenizer.encode(f"{problem}?"), tokenizer.encode(response)
        stays = 1.0
        for at in range(len(ids) + 1):
            if at and not tokenizer.decode(ids[:at]).endswith("\n"):
                continue
            row = np.concatenate([prompt, ids[:at], fence])[None]
            logprobs = np.asarray(score(params, CONFIG, row, temperature=TEMPERATURE), np.float64)
            stays *= 1.0 - np.exp(logprobs[0, -len(fence) :].sum())
        return stays

    expected = {p: np.mean([stays_text(p, t) for t in several]) for p, several in texts.items()}
    assert 1e-6 < 1 - expected["a"] < 0.9
    np.testing.assert_allclose(found[:, 0], [expected["b"], expected["a"], 0.5], rtol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


def test_lines_beyond_the_columns_are_not_looked_at():
    tokenizer = tiny_models.load_tokenizer()
    long = written("a", "\n" * 40)
    fence = np.arange(30, 38, dtype=np.int32)
    rows = hazard.pack([long], fence, tokenizer.line_ends(), 2, WIDTH)
    assert rows.fence_of.max() == hazard.FENCE_COLUMNS // 8 - 1
    prompt = len(tokenizer.encode("a?"))
    np.testing.assert_array_equal(rows.starts[0, ::8][:3], [prompt, prompt + 1, prompt + 2])
    assert (rows.fence_of[1] == -1).all()
