"""One process of two, with four devices each, that sample together: `… OUT NUMBER PORT`.

Writes `NUMBER.json` and `NUMBER.episodes` into the folder OUT, for tests/rollout/test_processes.py.
"""

import dataclasses
import json
import pickle
import sys
import types
from collections import Counter
from pathlib import Path

import jax
import numpy as np

from acim_jax.records import Episode, SamplingParams
from acim_jax.rollout import processes
from acim_jax.run import compilation
from acim_jax.sharding import mesh, place
from acim_jax.sharding.config import MeshConfig
from tests.support import tiny_models


def main(out: Path, number: int, port: str) -> None:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 4)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_default_matmul_precision", "highest")
    compilation.enable_cache()
    jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=number)
    train, sample = mesh.layouts(MeshConfig(fsdp=4, tensor=2))
    assert train is not None and sample is not None
    host = jax.device_get(tiny_models.make_params())
    shardings = place.param_shardings(host, train)
    params = jax.tree.map(
        lambda x, s: jax.make_array_from_callback(x.shape, s, lambda index: x[index]),
        host,
        shardings,
    )
    result: dict[str, object] = {"local": dict(sample.mesh.shape), "refused": refusals()}
    sampled = place.to_sampling(params, train, sample)
    result["weights"] = jax.tree.all(
        jax.tree.map(lambda x, y: np.array_equal(np.asarray(x), y), sampled, host)
    )
    w_q = sampled["blocks"]["attention"]["w_q"]
    result["shard"] = w_q.addressable_shards[0].data.shape
    sampler = tiny_models.make_sampler(layout=sample)
    result["programs"] = processes.compile_all(sampled, sampler)
    with compilation.CompileCounter() as counter:
        again = place.to_sampling(params, train, sample)
        executor, done = tiny_models.ScriptedExecutor(), []
        episodes, stats = converse(
            again,
            sampler,
            executor,
            wanted=tiny_models.requests(),
            score=lambda own: [dataclasses.replace(e, graded=f"by {number}") for e in own],
            progress=types.SimpleNamespace(
                finished=lambda: done.append(1), decoded=lambda tokens, rows: None
            ),
        )
        result["compiled"] = counter.take().executables
    (out / f"{number}.episodes").write_bytes(pickle.dumps(episodes))
    result |= {
        "executed": Counter(executor.programs),
        "done": len(done),
        "sampled_tokens": stats.sampled_tokens,
        "near_ties": stats.near_ties,
        "failure": failure(again, sampler, number),
    }
    (out / f"{number}.json").write_text(json.dumps(result))


def converse(params, sampler, executor, *, wanted, **more):
    return processes.converse(
        params,
        wanted,
        sampler,
        executor,
        seed=3,
        iteration=1,
        sampling=SamplingParams(1.0),
        **more,
    )


def failure(params, sampler, number: int) -> str:
    """What a process hears when the second one cannot grade what it made."""

    def grade(episodes: list[Episode]) -> list[Episode]:
        if number == 1:
            raise OSError("no grades today")
        return episodes

    wanted = tiny_models.requests(2, 1)
    try:
        converse(params, sampler, None, wanted=wanted, score=grade)
    except RuntimeError as error:
        return str(error)
    return "none"


def refusals() -> list[str]:
    """Meshes on which a process cannot sample by itself."""
    found = []
    for config, count in ((MeshConfig(tensor=8), 8), (MeshConfig(), 4)):
        try:
            mesh.layouts(config, jax.devices()[:count])
        except ValueError as error:
            found.append(str(error))
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
