"""Run-state checkpoints: exact, complete or absent, restorable onto another mesh."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from acim_jax.checkpoint import store


class State(NamedTuple):
    params: dict[str, Any]
    opt_state: Any
    step: jax.Array


def make_state(scale: float = 1.0) -> State:
    """A state with bfloat16, int32 and optimiser leaves, none of them constant."""
    params = {
        "embed": {"embedding": scale * jnp.arange(24.0).reshape(8, 3)},
        "norm": {"scale": jnp.linspace(0, 1, 5).astype(jnp.bfloat16)},
    }
    optimizer = optax.adamw(1e-3)
    opt_state = optimizer.init(params)
    _, opt_state = optimizer.update(params, opt_state, params)
    return State(params, opt_state, jnp.int32(7))


def assert_same(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def test_round_trip_newest_and_pruning(tmp_path: Path):
    folder = tmp_path / "checkpoints"
    assert store.latest(folder) is None
    metadata = {"iteration": 4, "history": [{"id": "a", "rate": 0.25}, None], "text": "é"}
    for step in (2, 10, 9):
        store.save(folder, step, make_state(float(step)), metadata | {"step": step}, keep=None)
    assert store.steps(folder) == (2, 9, 10)
    assert store.latest(folder) == 10
    state, found = store.restore(folder, 9, make_state())
    assert_same(state, make_state(9.0))
    assert found == metadata | {"step": 9}
    store.save(folder, 11, make_state(11.0), {}, keep=2)
    assert store.steps(folder) == (10, 11)
    store.save(folder, 11, make_state(12.0), {"again": True}, keep=2)
    state, found = store.restore(folder, 11, make_state())
    assert_same(state, make_state(12.0))
    assert found == {"again": True}


def test_parameters_alone_and_onto_other_devices(tmp_path: Path):
    """Saved on one device, restored split over a mesh, without the optimiser's leaves."""
    store.save(tmp_path, 1, make_state(), {})
    mesh = jax.make_mesh((4,), ("fsdp",), devices=jax.devices()[:4])
    sharding = NamedSharding(mesh, PartitionSpec("fsdp"))
    like = {
        "params": {
            "embed": {"embedding": jax.ShapeDtypeStruct((8, 3), jnp.float32, sharding=sharding)}
        }
    }
    state, _ = store.restore(tmp_path, 1, like, partial=True)
    embedding = state["params"]["embed"]["embedding"]
    assert embedding.sharding == sharding
    assert embedding.addressable_shards[1].data.tolist() == [[6, 7, 8], [9, 10, 11]]
    assert_same(state["params"]["embed"], make_state().params["embed"])
    with pytest.raises(ValueError, match=r"1 holds opt_state/.* has not"):
        store.restore(tmp_path, 1, like)


@pytest.mark.parametrize(
    ("path", "leaf", "message"),
    [
        ("embedding", jnp.zeros((8, 4)), r"float32\[8, 3\], wanted float32\[8, 4\]"),
        ("embedding", jnp.zeros((8, 3), jnp.bfloat16), r"float32\[8, 3\], wanted bfloat16\[8, 3\]"),
        ("other", jnp.zeros(2), "does not hold params/embed/other"),
    ],
)
def test_a_state_of_another_form_is_refused(tmp_path: Path, path: str, leaf: Any, message: str):
    store.save(tmp_path, 1, make_state(), {})
    like = {"params": {"embed": {path: leaf}}}
    with pytest.raises(ValueError, match=message):
        store.restore(tmp_path, 1, like, partial=True)


def test_missing_steps_and_odd_leaves(tmp_path: Path):
    store.save(tmp_path, 3, make_state(), {})
    with pytest.raises(FileNotFoundError, match=r"no complete checkpoint of step 4; it holds \(3,"):
        store.restore(tmp_path, 4, make_state())
    with pytest.raises(TypeError, match="Leaf rate of a state must be an array, got float"):
        store.save(tmp_path, 4, {"rate": 0.5}, {})
    assert store.steps(tmp_path) == (3,)


KILLED = """
import os, signal, sys
from pathlib import Path
import jax.numpy as jnp
from acim_jax.checkpoint import store

folder = Path(sys.argv[1])
def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
store.save(folder, 1, {"w": jnp.ones(3)}, {})
os.rename = os.replace = die
store.save(folder, 2, {"w": jnp.full(3, 2.0)}, {})
"""


def test_a_killed_save_leaves_no_step(tmp_path: Path):
    """SIGKILL when all bytes are written and only the rename is missing; then the step again."""
    env = os.environ | {"JAX_PLATFORMS": "cpu"}
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], env=env, capture_output=True, timeout=60
    )
    assert ended.returncode == -9, ended.stderr.decode()
    leftovers = [path.name for path in tmp_path.iterdir() if path.name != "1"]
    assert any("2" in name for name in leftovers)
    assert store.latest(tmp_path) == 1
    state, _ = store.restore(tmp_path, 1, {"w": jnp.zeros(3)})
    assert state["w"].tolist() == [1, 1, 1]
    store.save(tmp_path, 2, {"w": jnp.full(3, 2.0)}, {})
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["1", "2"]
