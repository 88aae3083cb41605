"""What a run would take, computed from its configuration: nothing is allocated or compiled."""

import jax
import numpy as np
import rich.table

from acim_jax import runtime
from acim_jax.model import cache, lora, transformer
from acim_jax.sharding import place
from acim_jax.training import Prepared


def table(prepared: Prepared) -> rich.table.Table:
    """Counts, bytes per device and programs of a run."""
    config, model = prepared.config, prepared.model.config
    rows: list[tuple[str, str]] = []
    params = transformer.abstract_params(model)
    count = sum(x.size for x in jax.tree.leaves(params))
    weights = sum(_bytes(x) for x in jax.tree.leaves(params))
    train_layout, sample_layout = runtime.layouts(config.mesh)
    shards = 1 if train_layout is None else _shards(params, train_layout)
    rows.append(("model", f"{prepared.model.name}, {count:,} parameters"))
    trained, trained_shards = count, shards
    if config.lora is not None:
        adapters = lora.abstract(config.lora, params)
        trained = sum(x.size for x in jax.tree.leaves(adapters))
        trained_shards = 1 if train_layout is None else _shards(adapters, train_layout)
        rows.append(("adapters", f"{trained:,} parameters of rank {config.lora.rank}"))
    rows.append(("devices", f"{jax.device_count()} × {jax.devices()[0].device_kind}"))
    rows.append(("problems", _sizes(prepared)))
    explore, sampling = config.explore, config.sampling
    per_iteration = min(explore.problems, len(prepared.train)) * explore.rollouts_per_problem
    rows.append(("rollouts", f"{per_iteration} × {config.run.iterations} iterations"))
    rows.append(("warm-up", f"{config.warmup.steps} steps of {config.warmup.rows} rows"))
    parts = 1 if sample_layout is None else sample_layout.shards("batch")
    int8 = sampling.kv_cache == "int8"
    kv = cache.num_bytes(model, sampling.pages(parts), sampling.page_size, int8=int8)
    if sample_layout is not None:
        kv //= sample_layout.shards("kv_heads")
    moments = 3 * 4 * trained  # gradients and two moments, float32
    rows.append(("weights, per device", _human(weights / shards)))
    rows.append(("gradients and moments, per device", _human(moments / trained_shards)))
    rows.append(("KV cache, per device", _human(kv)))
    columns = config.improve.logprob_chunk or config.improve.buckets[-1]
    logits = 4 * config.improve.microbatch_rows * columns * model.vocab_size
    rows.append(("logits of a microbatch, all devices", _human(logits)))
    programs = 3 + len(sampling.prefill_buckets)
    per_bucket = 2 if config.improve.replay_weight else 1
    programs += 4 + per_bucket * len(config.improve.buckets)
    rows.append(("programs to compile, about", str(programs)))
    result = rich.table.Table(title=f"{config.method}, seed {config.seed}", show_header=False)
    for name, value in rows:
        result.add_row(name, value)
    return result


def _sizes(prepared: Prepared) -> str:
    train, validation, test = prepared.train, prepared.validation, prepared.test
    return f"{len(train)} train, {len(validation)} validation, {len(test)} test"


def _bytes(x: jax.ShapeDtypeStruct) -> int:
    return x.size * x.dtype.itemsize


def _shards(params: transformer.Params, layout) -> float:
    """How many times smaller a device's share is than the whole."""
    shardings = place.param_shardings(params, layout)
    whole = sum(_bytes(x) for x in jax.tree.leaves(params))
    leaves = zip(jax.tree.leaves(params), jax.tree.leaves(shardings), strict=True)
    share = sum(int(np.prod(s.shard_shape(x.shape))) * x.dtype.itemsize for x, s in leaves)
    return whole / share


def _human(count: int | float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
