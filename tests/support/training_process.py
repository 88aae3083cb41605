"""One process of two, with four devices each, that train together: `… OUT NUMBER PORT`.

Writes `NUMBER.json` into the folder OUT, for tests/system/test_em_on_processes.py.
"""

import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from acim_jax.em import loop
from acim_jax.explore.curriculum import History
from acim_jax.run import compilation, precompile, preparation
from acim_jax.run import resources as run_resources
from acim_jax.sharding import place
from acim_jax.sharding.config import MeshConfig
from tests.support import small_world


def iterations(count: int) -> list[dict[str, Any]]:
    """EM iterations over all devices of the job: what was sampled and earned, what was learnt."""
    config = small_world.run_config(mesh=MeshConfig(fsdp=4, tensor=2))
    preparation.check_rows(config)
    host = jax.device_get(small_world.warmed_up())
    rows: list[dict[str, Any]] = []
    with (
        run_resources.opened(config, small_world.model(), small_world.PROBLEMS) as resources,
        compilation.CompileCounter() as counter,
    ):
        learner = resources.learner
        assert learner.layout is not None
        params = jax.tree.map(
            lambda x, s: jax.make_array_from_callback(x.shape, s, lambda index: x[index]),
            host,
            place.param_shardings(host, learner.layout),
        )
        state, history = learner.new_state(params), History()
        precompile.compile_all(state, resources)
        for iteration in range(1, count + 1):
            counter.take()
            result = loop.em_iteration(
                state, small_world.PROBLEMS, history, resources, iteration, progress=0.0
            )
            state, history = result.state, result.history
            found = result.exploration
            row = {
                "compiled": counter.take().executables,
                "tokens": [e.token_ids.tolist() for e in found.episodes],
                "rewards": [e.reward for e in found.episodes],
                "policy": np.stack([v.policy for v in found.values]).tolist(),
                "near_ties": found.stats.near_ties,
                "metrics": result.fit._asdict(),
            }
            rows.append(row)
    return rows


def main(out: Path, number: int, port: str) -> None:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 4)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_default_matmul_precision", "highest")
    compilation.enable_cache()
    jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=number)
    (out / f"{number}.json").write_text(json.dumps(iterations(2)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
