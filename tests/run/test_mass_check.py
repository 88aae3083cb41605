"""Prefixes that a model never writes are refused, with what was measured, before any rollout."""

import contextlib
import dataclasses

import jax
import pytest

from acim_jax.bad_input import BadInput
from acim_jax.config.run import RunConfig
from acim_jax.run import mass_check
from acim_jax.run import resources as run_resources
from acim_jax.sharding.config import MeshConfig
from tests.support import small_world

ONE = MeshConfig(1, 1, 1)


@pytest.fixture(scope="module")
def start():
    return small_world.warmed_up()


def check(start, prefixes: tuple[str, ...], **explore: object) -> None:
    explored = dataclasses.replace(small_world.run_config().explore, **explore)
    config: RunConfig = small_world.run_config(explore=explored, mesh=ONE)
    model = small_world.model()
    model = dataclasses.replace(
        model, markup=dataclasses.replace(model.markup, text_prefixes=prefixes)
    )
    with run_resources.opened(config, model, small_world.PROBLEMS) as resources:
        state = resources.learner.new_state(jax.tree.map(jax.numpy.copy, start))
        mass_check.check(state, small_world.PROBLEMS, resources)


def test_prefixes_that_were_taught_pass(start):
    check(start, small_world.MARKUP.text_prefixes)


@pytest.mark.parametrize(("min_mass", "refused"), [(0.5, True), (0.05, False), (0.0, False)])
def test_other_wordings_are_refused_below_the_least_mass(start, min_mass: float, refused: bool):
    """Only the code prefix is left of what was taught, which holds a fifth of the probability."""
    raises = pytest.raises(BadInput, match=r"(?s)median of 0\.[12].*'Hmm.'.*acim prefixes")
    with raises if refused else contextlib.nullcontext():
        check(start, ("Hmm.",), min_mass=min_mass)
