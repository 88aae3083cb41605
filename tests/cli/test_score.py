"""`acim score` against a log-softmax written out in numpy; refusals that name file and line."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from acim_jax.cli import main, score
from acim_jax.model import transformer
from tests.support import tiny_models
from tests.support.model_folders import CONFIG, read_rows, write_rows


def expected(token_ids: list[int]) -> list[float]:
    """log π of every token but the first, from the logits of the unpadded row alone."""
    params = tiny_models.make_params(CONFIG)
    ids = jnp.array([token_ids], jnp.int32)
    positions = jnp.arange(len(token_ids))[None]
    hidden, _ = transformer.forward(params, CONFIG, ids, positions, None)
    logits = np.asarray(transformer.unembed(params, CONFIG, hidden), np.float64)[0]
    found = []
    for t, token in enumerate(token_ids[1:]):
        shifted = logits[t] - logits[t].max()
        found.append(shifted[token] - np.log(np.exp(shifted).sum()))
    return found


def test_scores_are_natural_logs_of_the_tokens_as_they_stand(model: Path, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    rows = [
        {"id": "long", "token_ids": draw.integers(0, 606, 75).tolist()},
        {"id": 7, "token_ids": [5]},
        {"id": "words", "text": "What is 79 + 3?<|assistant|>"},
        {"id": "short", "token_ids": [9, 607, 9]},
    ]
    source, target = write_rows(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    done = main.main(["score", "--model", str(model), "--input", str(source),
                      "--output", str(target)])  # fmt: skip
    assert done == 0
    scored = read_rows(target)
    assert [row["id"] for row in scored] == ["long", 7, "words", "short"]
    assert scored[0]["token_ids"] == rows[0]["token_ids"]
    words = tiny_models.load_tokenizer().encode("What is 79 + 3?<|assistant|>").tolist()
    assert scored[2]["token_ids"] == words
    for row in scored:
        wanted = expected(row["token_ids"])
        assert row["logprobs"][0] is None
        np.testing.assert_allclose(row["logprobs"][1:], wanted, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(row["sum"], sum(wanted), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "a", "token_ids": []}', "0 tokens"),
        ('{"id": "a", "text": ""}', "0 tokens"),
        ('{"id": "a", "token_ids": [3, 642]}', "642"),
        ('{"id": "a", "token_ids": [-1]}', "-1"),
        ('{"id": "a", "token_ids": [true]}', "True"),
        ('{"id": "a", "token_ids": "3 4"}', "list"),
        ('{"id": "a", "token_ids": [1], "text": "b"}', "either"),
        ('{"id": "a"}', "either"),
        ('{"token_ids": [1]}', '"id"'),
        ('{"id": "a", "text": 3}', '"text"'),
        ('{"id": "a", "text": "\\ud800"}', "surrogate"),
        (json.dumps({"id": "a", "token_ids": [1] * 257}), "257"),
        ('{"id": "a", ', "JSON"),
    ],
)
def test_a_row_that_cannot_be_scored_is_refused_by_file_and_line(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"id": "fine", "token_ids": [1, 2]}\n\n' + line + "\n")
    target = tmp_path / "out.jsonl"
    done = main.main(["score", "--model", str(model), "--input", str(source),
                      "--output", str(target)])  # fmt: skip
    message = capsys.readouterr().err
    assert done == 2
    assert f"{source}:3:" in message
    assert said in message
    assert not target.exists()


def test_batches_hold_every_row_once_in_few_shapes() -> None:
    lengths = np.random.default_rng(1).integers(1, 301, 700).tolist()
    found = list(score.batches(lengths, max_positions=300, shares=3))
    assert sorted(i for chosen, _ in found for i in chosen) == list(range(700))
    for chosen, (rows, width) in found:
        assert len(chosen) <= rows
        assert rows % 3 == 0
        assert max(lengths[i] for i in chosen) <= width <= 300
    assert len({shape for _, shape in found}) == len({width for _, (_, width) in found}) == 5
