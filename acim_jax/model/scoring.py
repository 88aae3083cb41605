"""Log-probs of given tokens. The only place where columns are shifted by one."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

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
    positions = jnp.broadcast_to(jnp.arange(token_ids.shape[1]), token_ids.shape)
    hidden_BTD, _ = transformer.forward(params, config, token_ids, positions, None, layout)
    targets_BT = next_token_inputs(token_ids)

    def chosen(hidden: Array, targets: Array) -> Array:
        logits = transformer.unembed(params, config, hidden) / temperature
        logits = axes.constrain(logits, ("batch", "sequence", "vocab"), layout)
        picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        return picked - jax.nn.logsumexp(logits, axis=-1)

    if chunk <= 0 or chunk >= token_ids.shape[1]:
        return shift_to_own_column(chosen(hidden_BTD, targets_BT))
    B, T, D = hidden_BTD.shape
    pad = -T % chunk
    hidden = jnp.pad(hidden_BTD, ((0, 0), (0, pad), (0, 0))).reshape(B, -1, chunk, D)
    targets = jnp.pad(targets_BT, ((0, 0), (0, pad))).reshape(B, -1, chunk)
    scored = jax.lax.map(
        lambda pair: jax.checkpoint(chosen)(*pair),
        (hidden.swapaxes(0, 1), targets.swapaxes(0, 1)),
    )
    return shift_to_own_column(scored.swapaxes(0, 1).reshape(B, T + pad)[:, :T])


def decision_logprobs(
    params: transformer.Params,
    config: ModelConfig,
    token_ids: Int[Array, "P C K T"],
    is_prefix: Bool[Array, "P C K T"],
    *,
    temperature: float | Float[Array, ""] = 1.0,
    chunk: int = 0,
    layout: axes.Layout | None = None,
) -> Float[Array, "P C"]:
    """ℓ_c(x) = logsumexp over the prefixes p of decision c of log π(p|x), float32, in nats.

    token_ids holds prompt and prefix of every (problem, decision, prefix); a decision with fewer
    than K prefixes has rows without any prefix token, which count as probability 0. The exponents
    do not sum to 1: the rest is the probability of beginning a response in neither way. chunk: as
    of `token_logprobs`.
    """
    P, C, K, T = token_ids.shape
    logprobs = token_logprobs(
        params,
        config,
        token_ids.reshape(-1, T),
        temperature=temperature,
        chunk=chunk,
        layout=layout,
    )
    masked = jnp.where(is_prefix, logprobs.reshape(P, C, K, T), 0.0)
    exists_PCK = jnp.any(is_prefix, axis=-1)
    # Finite, since logsumexp over −inf alone has a NaN gradient even where it is masked.
    per_prefix_PCK = jnp.where(exists_PCK, jnp.sum(masked, axis=-1), NO_PREFIX)
    return jax.nn.logsumexp(per_prefix_PCK, axis=-1)
