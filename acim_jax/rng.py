"""Randomness from identity: a draw depends on what it is for, never on when or where it is made.

A rollout's key is (seed, iteration, problem, guide, rollout); the sampler folds the position in.
So host count, batch order, slots and resumption change no draw.
"""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt32


def identity_hash(*parts: str | int) -> int:
    """A stable 64-bit hash of an identity (the process's own `hash` is salted).

    Cryptographic, because a checksum is linear: with CRC-32, another seed would shift the hashes of
    all problems alike, and two salted hashes of a rollout would hold the same 32 bits.
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2s(text.encode(), digest_size=8).digest(), "big")


def host(*parts: str | int) -> np.random.Generator:
    """A numpy generator for one draw on the host."""
    return np.random.default_rng(identity_hash(*parts))


def rollout_key(
    seed: int, iteration: int, problem_id: str, guide: str, index: int
) -> UInt32[np.ndarray, "2"]:
    """The two words of a rollout's threefry key."""
    word = identity_hash(seed, iteration, problem_id, guide, index)
    return np.array([word >> 32, word & 0xFFFFFFFF], dtype=np.uint32)


def position_keys(keys_B2: UInt32[Array, "B 2"], positions_B: Array) -> jax.Array:
    """One key per row for the token that will stand at `positions_B`."""
    keys = jax.random.wrap_key_data(keys_B2, impl="threefry2x32")
    return jax.vmap(jax.random.fold_in)(keys, positions_B)


def gumbel(keys: jax.Array, vocab_size: int) -> Array:
    """Standard Gumbel noise, float32 [B, V]: argmax(logits + noise) samples softmax(logits)."""
    return jax.vmap(lambda key: jax.random.gumbel(key, (vocab_size,), jnp.float32))(keys)
