"""`acim score --model M --input F --output G`: log-probabilities of given tokens."""

import argparse
import functools
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from acim_jax import bad_input
from acim_jax.checkpoint import model_folder
from acim_jax.checkpoint.model_folder import ModelFolder
from acim_jax.cli import checks, console, input_records, options
from acim_jax.cli.input_records import InputRecord
from acim_jax.files import jsonl
from acim_jax.model import scoring
from acim_jax.run import compilation
from acim_jax.sharding import place

#: Tokens of a batch; rows are padded to a power of two, so there are few shapes to compile.
_BATCH_TOKENS = 8192
_NARROWEST = 32
#: Columns whose logits are held at once.
_LOGIT_COLUMNS = 256


def run(args: argparse.Namespace) -> int:
    """Scores all rows and writes them in input order."""
    compilation.enable_cache()
    with bad_input.reading():
        records = input_records.read(args.input)
        model = options.open_model(args)
        rows = [_token_ids(record, model) for record in records]
        layout, shares = options.sample_layout()
        params = model_folder.load_for_sampling(model, layout)
    score = jax.jit(
        functools.partial(
            scoring.token_logprobs, config=model.config, chunk=_LOGIT_COLUMNS, layout=layout
        )
    )
    scored: dict[int, np.ndarray] = {}
    # Accelerators multiply float32 in fewer bits unless they are asked not to.
    exact = "highest" if model.config.dtype == "float32" else None
    lengths = [len(row) for row in rows]
    with (
        jax.default_matmul_precision(exact),
        console.Display() as display,
        display.task("rows", len(rows)) as advance,
    ):
        for chosen, shape in batches(lengths, model.config.max_positions, shares):
            token_ids = np.zeros(shape, np.int32)
            for at, index in enumerate(chosen):
                token_ids[at, : lengths[index]] = rows[index]
            placed = token_ids if layout is None else place.put(token_ids, layout, ("batch",))
            logprobs = np.asarray(score(params, token_ids=placed))
            for at, index in enumerate(chosen):
                scored[index] = logprobs[at, : lengths[index]]
                advance()
    jsonl.write(args.output, (
        {
            "id": record.id,
            "token_ids": row.tolist(),
            "logprobs": [None, *map(float, scored[index][1:])],
            "sum": float(np.sum(scored[index][1:], dtype=np.float64)),
        }
        for index, (record, row) in enumerate(zip(records, rows, strict=True))
    ))  # fmt: skip
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


def _token_ids(record: InputRecord, model: ModelFolder) -> np.ndarray:
    """The tokens of a record, [n] int32; ValueError with its place for what cannot be scored."""
    where, size = record.where, model.config.vocab_size
    if ("token_ids" in record.fields) == ("text" in record.fields):
        found = sorted(record.fields)
        raise ValueError(f'{where}: needed either "token_ids" or "text", got {found}.')
    if "text" in record.fields:
        text = record.text("text")
        checks.check_text(text, f'{where}: field "text"')
        token_ids = model.tokenizer.encode(text, begins=True)
    else:
        given = record.fields["token_ids"]
        if not isinstance(given, list):
            got = type(given).__name__
            raise ValueError(f'{where}: "token_ids" must be a list of integers, got {got}.')
        for token in given:
            if not isinstance(token, int) or isinstance(token, bool) or not 0 <= token < size:
                raise ValueError(
                    f'{where}: "token_ids" must be integers from 0 to {size - 1} (the model\'s '
                    f"vocabulary), got {token!r}."
                )
        token_ids = np.array(given, np.int32)
    positions = model.config.max_positions
    if not 0 < len(token_ids) <= positions:
        raise ValueError(
            f"{where}: {len(token_ids)} tokens; the model scores 1 to {positions} at once."
        )
    return token_ids
