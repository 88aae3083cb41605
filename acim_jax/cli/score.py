"""`acim score --model M --input F --output G`: log-probabilities of given tokens."""

import argparse
import dataclasses
import functools
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from acim_jax import bad_input
from acim_jax.checkpoint import model_folder
from acim_jax.checkpoint.model_folder import ModelFolder
from acim_jax.cli import checks, console, input_records, options
from acim_jax.files import jsonl
from acim_jax.model import scoring
from acim_jax.run import compilation
from acim_jax.sharding import place

#: Tokens of a batch; rows are padded to a power of two, so there are few shapes to compile.
_BATCH_TOKENS = 8192
_NARROWEST = 32
#: Columns whose logits are held at once.
_LOGIT_COLUMNS = 256


@dataclasses.dataclass(frozen=True, eq=False)
class _Row:
    id: object
    token_ids: np.ndarray  # [n] int32


def run(args: argparse.Namespace) -> int:
    """Scores all rows and writes them in input order."""
    compilation.enable_cache()
    with bad_input.reading():
        lines = jsonl.read(args.input)
        model = options.open_model(args)
        rows = [_row(row, f"{args.input}:{number}", model) for number, row in lines]
        layout, shares = options.sample_layout()
        params = model_folder.load_params(model, layout)
    score = jax.jit(
        functools.partial(
            scoring.token_logprobs, config=model.config, chunk=_LOGIT_COLUMNS, layout=layout
        )
    )
    scored: dict[int, np.ndarray] = {}
    # Accelerators multiply float32 in fewer bits unless they are asked not to.
    exact = "highest" if model.config.dtype == "float32" else None
    lengths = [len(row.token_ids) for row in rows]
    with (
        jax.default_matmul_precision(exact),
        console.Display() as display,
        display.task("rows", len(rows)) as advance,
    ):
        for chosen, shape in batches(lengths, model.config.max_positions, shares):
            token_ids = np.zeros(shape, np.int32)
            for at, index in enumerate(chosen):
                token_ids[at, : lengths[index]] = rows[index].token_ids
            placed = token_ids if layout is None else place.put(token_ids, layout, ("batch",))
            logprobs = np.asarray(score(params, token_ids=placed))
            for at, index in enumerate(chosen):
                scored[index] = logprobs[at, : lengths[index]]
                advance()
    jsonl.write(args.output, (_result(row, scored[i]) for i, row in enumerate(rows)))
    return 0


def batches(
    lengths: Sequence[int], max_positions: int, shares: int
) -> Iterator[tuple[list[int], tuple[int, int]]]:
    """Row numbers that are scored together, and the padded shape; every width has one shape.

    shares: the number of rows divides by it.
    """
    by_width: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        width = max(_NARROWEST, 1 << (length - 1).bit_length())
        by_width.setdefault(min(width, max_positions), []).append(index)
    for width, indices in sorted(by_width.items()):
        most = max(_BATCH_TOKENS // width, 1)
        count = -(-min(most, 1 << (len(indices) - 1).bit_length()) // shares) * shares
        for at in range(0, len(indices), count):
            yield indices[at : at + count], (count, width)


def _row(row: dict[str, object], where: str, model: ModelFolder) -> _Row:
    """One input row; ValueError with its place for what cannot be scored."""
    row_id = input_records.record_id(row, where)
    if ("token_ids" in row) == ("text" in row):
        raise ValueError(f'{where}: needed either "token_ids" or "text", got {sorted(row)}.')
    if "text" in row:
        text = input_records.text_field(row, "text", where)
        checks.check_text(text, f'{where}: field "text"')
        token_ids = model.tokenizer.encode(text, begins=True)
    else:
        token_ids = _token_ids(row["token_ids"], where, model.config.vocab_size)
    positions = model.config.max_positions
    if not 0 < len(token_ids) <= positions:
        raise ValueError(
            f"{where}: {len(token_ids)} tokens; the model scores 1 to {positions} at once."
        )
    return _Row(row_id, token_ids)


def _token_ids(value: object, where: str, vocab_size: int) -> np.ndarray:
    if not isinstance(value, list):
        raise ValueError(
            f'{where}: "token_ids" must be a list of integers, got {type(value).__name__}.'
        )
    for token in value:
        if not isinstance(token, int) or isinstance(token, bool) or not 0 <= token < vocab_size:
            raise ValueError(
                f'{where}: "token_ids" must be integers from 0 to {vocab_size - 1} (the model\'s '
                f"vocabulary), got {token!r}."
            )
    return np.array(value, np.int32)


def _result(row: _Row, logprobs: np.ndarray) -> dict[str, object]:
    values = [float(value) for value in logprobs[1:]]
    return {
        "id": row.id,
        "token_ids": row.token_ids.tolist(),
        "logprobs": [None, *values],
        "sum": float(np.sum(logprobs[1:], dtype=np.float64)),
    }
