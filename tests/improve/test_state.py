"""The optimiser: what decays, and in which precision moments are kept."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_jax.improve import state, step
from acim_jax.improve.config import ImproveConfig
from tests.support import tiny_models
from tests.support.tiny_models import CONFIG


def test_vectors_do_not_decay():
    """With zero gradients a step shrinks matrices by lr·decay and leaves norms and biases."""
    optimiser = state.optimizer(ImproveConfig(weight_decay=0.5))
    params = tiny_models.make_params()
    train = state.create(jax.tree.map(jnp.copy, params), optimiser)
    after, grad_norm = step.apply(train, step.zeros(params), np.float32(0.1), optimiser=optimiser)
    assert float(grad_norm) == 0.0
    before = dict(jax.tree_util.tree_leaves_with_path(params))
    kept = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(after.params):
        if np.array_equal(leaf, before[path]):
            kept.append(str(path[-1].key))
        else:
            np.testing.assert_allclose(leaf, 0.95 * before[path], rtol=1e-5)
    assert sorted(kept) == ["b_k", "b_q", "b_v", "scale", "scale", "scale"]


@pytest.mark.parametrize("param_dtype", ["float32", "bfloat16"])
def test_a_step_keeps_every_dtype(param_dtype: str):
    """So that the second step compiles nothing, and a checkpoint fits either."""
    config = dataclasses.replace(CONFIG, param_dtype=param_dtype)
    optimiser = state.optimizer(ImproveConfig(weight_decay=0.1))
    train = state.create(tiny_models.make_params(config), optimiser)
    dtypes = [x.dtype for x in jax.tree.leaves(train)]
    gradients = jax.tree.map(lambda x: x + 1.0, step.zeros(train.params))
    after, _ = step.apply(train, gradients, np.float32(0.01), optimiser=optimiser)
    assert [x.dtype for x in jax.tree.leaves(after)] == dtypes
    moments = jax.tree.leaves(after.opt_state[1].mu)
    assert {x.dtype for x in moments} == {jnp.dtype("float32")}
    assert int(after.step) == 1
