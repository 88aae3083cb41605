"""Keys from identity: pinned values, no collisions of neighbours, position keys of jax itself."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np

from acim_jax import rng


def test_identity_is_stable_and_has_borders():
    """Equal in every process: BLAKE2s of the parts with a separator, by its published algorithm."""
    digest = hashlib.blake2s(b"a\x1f1", digest_size=8).hexdigest()
    assert rng.identity_hash("a", 1) == int(digest, 16)
    assert rng.identity_hash("a", "bc") != rng.identity_hash("ab", "c")
    assert rng.identity_hash("p", 1, 23) != rng.identity_hash("p", 12, 3)


def test_every_rollout_has_a_key_of_its_own():
    keys = {
        tuple(rng.rollout_key(seed, iteration, problem, guide, index).tolist())
        for seed in range(3)
        for iteration in range(-1, 5)
        for problem in ("p1", "p2", "p11")
        for guide in ("native", "text", "code")
        for index in range(12)
    }
    assert len(keys) == 3 * 6 * 3 * 3 * 12
    for word in zip(*keys, strict=True):
        assert len(set(word)) == len(keys)


def test_another_seed_is_another_order():
    """A checksum would be linear: the XOR of two problems' hashes would not depend on the seed,
    nor that of a key's two words on the rollout."""
    between = {rng.identity_hash(s, "p1") ^ rng.identity_hash(s, "p2") for s in range(8)}
    assert len(between) == 8
    words = [rng.rollout_key(0, 1, "p", "code", index) for index in range(8)]
    assert len({int(low ^ high) for low, high in words}) == 8


def test_host_draws_repeat_and_differ():
    assert rng.host(0, "a", 1).integers(1 << 40) == rng.host(0, "a", 1).integers(1 << 40)
    drawn = [rng.host(0, "a", i).integers(1 << 40) for i in range(20)]
    assert len(set(drawn)) == 20


def test_position_keys_are_fold_ins():
    keys = np.array([[1, 2], [3, 4]], np.uint32)
    ours = rng.gumbel(rng.position_keys(jnp.asarray(keys), jnp.array([5, 9])), 3)
    for row, (key, position) in enumerate(zip(keys, (5, 9), strict=True)):
        one = jax.random.fold_in(jax.random.wrap_key_data(key, impl="threefry2x32"), position)
        np.testing.assert_array_equal(ours[row], jax.random.gumbel(one, (3,), jnp.float32))
    assert not np.array_equal(ours[0], ours[1])
