"""Log-probs of given tokens. The only place where columns are shifted by one."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from acim_jax.model import transformer
from acim_jax.model.config import ModelConfig
from acim_jax.sharding import axes

#: log-probability of a prefix that does not exist.
NO_PREFIX = -1e30


def next_token_inputs(token_ids: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """The token that column t's hidden state predicts: t+1's; the last column's is a dummy 0."""
    return jnp.pad(token_ids[:, 1:], ((0, 0), (0, 1)))


def shift_to_own_column(next_logprobs: Float[Array, "B T"]) -> Float[Array, "B T"]:
    """Moves log π(token t+1), computed at column t, to column t+1; column 0 has no context: 0."""
    return jnp.pad(next_logprobs[:, :-1], ((0, 0), (1, 0)))


def token_logprobs(
    params: transformer.Params,
    config: ModelConfig,
    token_ids: Int[Array, "B T"],
    *,
    temperature: float | Float[Array, ""] = 1.0,
    chunk: int = 0,
    layout: axes.Layout | None = None,
) -> Float[Array, "B T"]:
    """log π(token t | tokens < t) at column t, float32, in nats; column 0 is 0.

    Rows are left-aligned; columns behind a row's end are scored as well, and the caller masks
    them. π is softmax(logits / temperature). chunk > 0 computes the logits of that many columns at
    a time and recomputes them in the backward pass, so that memory does not grow with T·V.
    """
    next_logprobs = _measured_tokens(_chosen, params, config, token_ids, temperature, chunk, layout)
    return shift_to_own_column(next_logprobs)


def token_logprobs_and_entropies(
    params: transformer.Params,
    config: ModelConfig,
    token_ids: Int[Array, "B T"],
    *,
    temperature: float | Float[Array, ""] = 1.0,
    chunk: int = 0,
    layout: axes.Layout | None = None,
) -> tuple[Float[Array, "B T"], Float[Array, "B T"]]:
    """`token_logprobs`, and at column t the entropy in nats of π(· | tokens < t), from which token
    t was drawn; column 0 is 0."""
    logprobs, entropies = _measured_tokens(
        _chosen_and_entropy, params, config, token_ids, temperature, chunk, layout
    )
    return shift_to_own_column(logprobs), shift_to_own_column(entropies)


def _chosen(logits: Float[Array, "*B V"], targets: Int[Array, "*B"]) -> Float[Array, "*B"]:
    """log π(target)."""
    picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return picked - jax.nn.logsumexp(logits, axis=-1)


def _chosen_and_entropy(
    logits: Float[Array, "*B V"], targets: Int[Array, "*B"]
) -> tuple[Float[Array, "*B"], Float[Array, "*B"]]:
    """log π(target), and −Σ π log π = logsumexp(z) − Σ π z."""
    normaliser = jax.nn.logsumexp(logits, axis=-1)
    picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    mean = jnp.sum(jnp.exp(logits - normaliser[..., None]) * logits, axis=-1)
    return picked - normaliser, normaliser - mean


def _measured_tokens(
    measure: Callable[[Array, Array], Any],
    params: transformer.Params,
    config: ModelConfig,
    token_ids: Int[Array, "B T"],
    temperature: float | Float[Array, ""],
    chunk: int,
    layout: axes.Layout | None,
) -> Any:
    """`_measured` of whole rows, each column's next token as the target."""
    positions = jnp.broadcast_to(jnp.arange(token_ids.shape[1]), token_ids.shape)
    hidden_BTD, _ = transformer.forward(params, config, token_ids, positions, None, layout)
    targets_BT = next_token_inputs(token_ids)
    return _measured(measure, params, config, hidden_BTD, targets_BT, temperature, chunk, layout)


def _measured(
    measure: Callable[[Array, Array], Any],
    params: transformer.Params,
    config: ModelConfig,
    hidden_BTD: Float[Array, "B T D"],
    targets_BT: Int[Array, "B T"],
    temperature: float | Float[Array, ""],
    chunk: int,
    layout: axes.Layout | None,
) -> Any:
    """measure(logits, targets) [B, T], of the hidden states of the same columns, `chunk` of them at
    a time."""

    def of(hidden: Array, targets: Array) -> Any:
        logits = transformer.unembed(params, config, hidden) / temperature
        logits = axes.constrain(logits, ("batch", "sequence", "vocab"), layout)
        return measure(logits, targets)

    B, T, D = hidden_BTD.shape
    if chunk <= 0 or chunk >= T:
        return of(hidden_BTD, targets_BT)
    pad = -T % chunk
    hidden = jnp.pad(hidden_BTD, ((0, 0), (0, pad), (0, 0))).reshape(B, -1, chunk, D)
    targets = jnp.pad(targets_BT, ((0, 0), (0, pad))).reshape(B, -1, chunk)
    scored = jax.lax.map(
        lambda pair: jax.checkpoint(of)(*pair),
        (hidden.swapaxes(0, 1), targets.swapaxes(0, 1)),
    )
    return jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(B, T + pad)[:, :T], scored)


def branch_logprobs(
    params: transformer.Params,
    config: ModelConfig,
    stems: Int[Array, "B W"],
    branches: Int[Array, "B S"],
    branch_of: Int[Array, "B S"],
    starts: Int[Array, "B S"],
    *,
    temperature: float | Float[Array, ""] = 1.0,
    chunk: int = 0,
    layout: axes.Layout | None = None,
) -> Float[Array, "B S"]:
    """log π of the tokens of texts that branch off a common one, float32, in nats.

    Each stem is computed once. branches: the tokens of all branches of a row, one branch after
    another. branch_of: the branch that a column belongs to, −1 for padding. starts: where its
    branch leaves the stem, 1 or more: it sees stem[:start] and itself, at the positions it has in a
    text of its own. Columns of padding get numbers without meaning. chunk: as of `token_logprobs`.
    """
    width, column_S = stems.shape[1], jnp.arange(branches.shape[1])
    before_BS = jnp.pad(branch_of, ((0, 0), (1, 0)), constant_values=-2)[:, :-1]
    begins_BS = branch_of != before_BS
    first_BS = jax.lax.cummax(jnp.where(begins_BS, column_S, 0), axis=1)
    column_BW = jnp.broadcast_to(jnp.arange(width), stems.shape)
    positions_BT = jnp.concatenate([column_BW, starts + column_S - first_BS], axis=1)
    # The stem's columns see the stem up to themselves.
    reach_BT1 = jnp.concatenate([column_BW + 1, starts], axis=1)[..., None]
    sees_stem = column_BW[:, None, :] < reach_BT1
    branch_BT = jnp.pad(branch_of, ((0, 0), (width, 0)), constant_values=-2)
    sees_branch = (branch_of[:, None, :] == branch_BT[..., None]) & (
        positions_BT[:, None, width:] <= positions_BT[..., None]
    )
    hidden_BTD, _ = transformer.forward(
        params,
        config,
        jnp.concatenate([stems, branches], axis=1),
        positions_BT,
        None,
        layout,
        visible=jnp.concatenate([sees_stem, sees_branch], axis=2),
    )
    # A branch's first token is predicted where it leaves the stem, the others one column before.
    parent_BS = jnp.where(begins_BS, jnp.maximum(starts - 1, 0), width + column_S - 1)
    parents_BSD = jnp.take_along_axis(hidden_BTD, parent_BS[..., None], axis=1)
    return _measured(_chosen, params, config, parents_BSD, branches, temperature, chunk, layout)


@runtime_checkable
class PromptsAndPrefixes(Protocol):
    """`markup.prefix_rows.PrefixRows`, whose docstring says what these are."""

    @property
    def prompts(self) -> Any: ...  # [P, W] int32
    @property
    def lengths(self) -> Any: ...  # [P] int32
    @property
    def prefixes(self) -> Any: ...  # [P, S] int32
    @property
    def prefix_of(self) -> Any: ...  # [P, S] int32
    @property
    def of_decision(self) -> Any: ...  # [P, C, N] bool


def prefix_token_logprobs(
    params: transformer.Params,
    config: ModelConfig,
    rows: PromptsAndPrefixes,
    *,
    temperature: float | Float[Array, ""] = 1.0,
    chunk: int = 0,
    layout: axes.Layout | None = None,
) -> Float[Array, "P S"]:
    """log π of every prefix token behind its prompt, as of `branch_logprobs`."""
    starts_PS = jnp.broadcast_to(rows.lengths[:, None], rows.prefixes.shape)
    return branch_logprobs(
        params,
        config,
        rows.prompts,
        rows.prefixes,
        rows.prefix_of,
        starts_PS,
        temperature=temperature,
        chunk=chunk,
        layout=layout,
    )


def decision_logprobs(
    params: transformer.Params,
    config: ModelConfig,
    rows: PromptsAndPrefixes,
    *,
    temperature: float | Float[Array, ""] = 1.0,
    chunk: int = 0,
    layout: axes.Layout | None = None,
) -> Float[Array, "P C"]:
    """ℓ_c(x) = logsumexp over the prefixes p of decision c of log π(p|x), float32, in nats.

    The exponents do not sum to 1: the rest is the probability of beginning a response in neither
    way. Rows of padding have no prefixes, which counts as probability 0. chunk: as of
    `token_logprobs`.
    """
    logprobs_PS = prefix_token_logprobs(
        params, config, rows, temperature=temperature, chunk=chunk, layout=layout
    )
    per_prefix_PN = sum_by_branch(logprobs_PS, rows.prefix_of, rows.of_decision.shape[2])
    # Finite, since logsumexp over −inf alone has a NaN gradient even where it is masked.
    per_decision_PCN = jnp.where(rows.of_decision, per_prefix_PN[:, None], NO_PREFIX)
    return jax.nn.logsumexp(per_decision_PCN, axis=-1)


def sum_by_branch(
    logprobs_BS: Float[Array, "B S"], branch_of: Int[Array, "B S"], count: int
) -> Float[Array, "B N"]:
    """log-probability of each of a row's `count` branches; 0 for one without tokens."""
    is_of_BSN = branch_of[..., None] == jnp.arange(count)
    return jnp.sum(jnp.where(is_of_BSN, logprobs_BS[..., None], 0.0), axis=1)
