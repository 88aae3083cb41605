"""Log-probs that the trainer computes before an iteration's first update: of the policy itself, for
decoupled PPO and for rows that have none of the sampler, and of the reference."""

# The types of jax and optax are known in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from acim_jax.improve import packing
from acim_jax.improve.config import ImproveConfig
from acim_jax.improve.learner import Learner
from acim_jax.improve.packing import TokenRow
from acim_jax.model import lora, scoring, transformer
from acim_jax.model.config import ModelConfig
from acim_jax.records import Episode, Example
from acim_jax.sharding import axes, place


def rescored(
    rows: Sequence[TokenRow],
    trained: lora.Params,
    learner: Learner,
    config: ImproveConfig,
    *,
    temperature: float,
) -> list[TokenRow]:
    """The rows with the log-probs that the objective asks for, one forward pass for each kind.

    trained: as they are before the first update, which is what π_prox means.
    """
    made = _with_behaviour(rows, trained, learner, config, temperature)
    rows = made
    if config.correction != "none":
        found = _of_rows(rows, trained, learner.frozen, learner, config, temperature)
        made = [
            dataclasses.replace(row, proximal_logprobs=own)
            for row, own in zip(made, found, strict=True)
        ]
    if config.kl_weight > 0:
        found = reference_logprobs(rows, learner, config, temperature=temperature)
        made = [
            dataclasses.replace(row, reference_logprobs=own)
            for row, own in zip(made, found, strict=True)
        ]
    return made


def _with_behaviour(
    rows: Sequence[TokenRow],
    trained: lora.Params,
    learner: Learner,
    config: ImproveConfig,
    temperature: float,
) -> list[TokenRow]:
    """The rows, of which those that are to be recomputed have the trainer's log-probs for log μ."""
    lacking = [row for row in rows if row.is_recomputed]
    found = iter(_of_rows(lacking, trained, learner.frozen, learner, config, temperature))
    return [
        dataclasses.replace(row, behaviour_logprobs=np.where(row.weights > 0, next(found), 0.0))
        if row.is_recomputed
        else row
        for row in rows
    ]


def reference_logprobs(
    rows: Sequence[TokenRow], learner: Learner, config: ImproveConfig, *, temperature: float
) -> list[np.ndarray]:
    """log π_ref of every row's tokens, [n] each."""
    return _of_rows(rows, learner.reference_params, None, learner, config, temperature)


def reference_kl(
    episodes: Sequence[Episode], learner: Learner, config: ImproveConfig, *, temperature: float
) -> list[Episode]:
    """The episodes with `reference_kl`, Σ (log μ − log π_ref) over their MODEL tokens: what of the
    KL to the reference their reward bears (k1). 0 for those that no row holds."""
    held = [i for i, e in enumerate(episodes) if packing.fits(e, config.buckets)]
    rows = [packing.example_row(Example(episodes[i], 0.0)) for i in held]
    found = reference_logprobs(rows, learner, config, temperature=temperature)
    distances = {
        i: float(np.sum((row.behaviour_logprobs - own)[row.weights > 0], dtype=np.float64))
        for i, row, own in zip(held, rows, found, strict=True)
    }
    return [
        dataclasses.replace(episode, reference_kl=distances.get(i, 0.0))
        for i, episode in enumerate(episodes)
    ]


def _of_rows(
    rows: Sequence[TokenRow],
    params: lora.Params,
    frozen: lora.Frozen | None,
    learner: Learner,
    config: ImproveConfig,
    temperature: float,
) -> list[np.ndarray]:
    """log π of every row's tokens, [n] each."""
    parts: list[tuple[list[int], jax.Array]] = []
    for width, chosen in packing.split(rows, config.buckets, config.microbatch_rows):
        batch = packing.pack([rows[i] for i in chosen], width, config.microbatch_rows)
        found = logprobs(
            params,
            place.batch(batch.token_ids, learner.layout),
            np.float32(temperature),
            config=learner.model,
            chunk=config.logprob_chunk,
            layout=learner.layout,
            frozen=frozen,
        )
        parts.append((chosen, found))
    by_row: dict[int, np.ndarray] = {}
    for chosen, values in jax.device_get(parts):
        by_row |= {i: values[at, : len(rows[i].token_ids)] for at, i in enumerate(chosen)}
    return [by_row[i] for i in range(len(rows))]


@functools.partial(jax.jit, static_argnames=("config", "chunk", "layout"))
def logprobs(
    params: lora.Params,
    token_ids: Int[Array, "B T"],
    temperature: Float[Array, ""],
    *,
    config: ModelConfig,
    chunk: int = 0,
    layout: axes.Layout | None = None,
    frozen: lora.Frozen | None = None,
) -> Float[Array, "B T"]:
    """`scoring.token_logprobs` of one microbatch."""
    whole: transformer.Params = lora.model_params(params, frozen)
    found = scoring.token_logprobs(
        whole, config, token_ids, temperature=temperature, chunk=chunk, layout=layout
    )
    # Whole on every device: each process of a job reads all of it.
    return axes.constrain(found, (), layout)
