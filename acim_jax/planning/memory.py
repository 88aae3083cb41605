"""Bytes that each device holds in a run's two phases, from shapes alone.

What stays (weights, moments, gradients, pages) is exact. What a call needs while it runs is an
estimate: docs/hardware.md puts the compilers' figures beside it.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from acim_jax.model import transformer
from acim_jax.model.config import PROJECTIONS, ModelConfig
from acim_jax.planning import workload as workloads
from acim_jax.planning.workload import Place, PrefixTable, Workload
from acim_jax.sharding import axes
from acim_kernels.attention import gpu, tpu

#: Of the residual stream saved for the backward pass: as computed, and as the compilers copy it.
RESIDUAL_COPIES = 2
#: Of the attention scores of one layer, in float32: the compilers keep more than three, not four.
SCORE_COPIES = 4
#: Of the logits of a chunk, in float32: themselves and their gradient.
LOGIT_COPIES = 2
#: More of them where the objective has an entropy bonus: probabilities, and their gradient.
ENTROPY_COPIES = 2
#: Of the projections of one layer: with their gradients.
PROJECTION_COPIES = 2


class Exploring(NamedTuple):
    """Bytes per device while rollouts are sampled.

    held: what training keeps meanwhile: parameters, base or reference, and moments. weights: the
    sampler's own (0 where it reads those that training holds). pages: the KV cache, and the rows'
    tables. working: estimate of the temporaries of its calls. scoring: estimate for π̂(c|x),
    computed when the pages are freed.
    """

    held: int
    weights: int
    pages: int
    working: int
    scoring: int

    @property
    def certain(self) -> int:
        """Without the estimates."""
        return self.held + self.weights + self.pages

    @property
    def total(self) -> int:
        return self.held + self.weights + max(self.pages + self.working, self.scoring)


class Improving(NamedTuple):
    """Bytes per device while gradients are computed.

    weights: what is trained. base: frozen weights of a LoRA run, or the reference of the KL term.
    moments: the optimiser's. gradients: accumulated, and those of the microbatch under way.
    activations, logits: estimates of the largest call's temporaries.
    """

    weights: int
    base: int
    moments: int
    gradients: int
    activations: int
    logits: int

    @property
    def certain(self) -> int:
        """Without the estimates."""
        return self.weights + self.base + self.moments + self.gradients

    @property
    def total(self) -> int:
        return sum(self)


def exploring(workload: Workload, at: Place, *, scores: bool) -> Exploring:
    """The sampler's memory, and beside it what training holds. scores: as for `improving`."""
    own = share(workloads.sampled_params(workload, at))
    held = scoring = 0
    if workload.training is not None:
        held = share((workloads.state(workload, at), _frozen(workload, at)))
        own = _copied(workload, at)
        scoring = _forward(_calls(workload, at, scores)[1])
    state = workloads.sampler(workload, at)
    model, config = workload.model, workload.sampling
    rows = max(config.slots, config.prefill_rows) // _shards(at.sample, "batch")
    # Scores, noise, perturbed scores and log-probs of each slot.
    logits = 4 * 4 * rows * model.vocab_size // _shards(at.sample, "vocab")
    columns = config.prefill_buckets[-1]
    prefill = -(-config.prefill_rows // _shards(at.sample, "batch")) * columns
    projections = prefill * _projected(model, at.sample)
    return Exploring(held, own, share(state), max(logits, projections), scoring)


def improving(workload: Workload, at: Place, *, scores: bool) -> Improving:
    """scores: attention is computed from all of a row's scores at once (no flash kernel)."""
    state = workloads.state(workload, at)
    own = share(state.params)
    accumulated = sum(4 * _elements(x) for x in jax.tree.leaves(state.params))
    calls, _ = _calls(workload, at, scores)
    activations, logits = max(((_activations(call), _logits(call)) for call in calls), key=sum)
    return Improving(
        weights=own,
        base=share(_frozen(workload, at)),
        moments=share(state.opt_state),
        gradients=accumulated + own,
        activations=activations,
        logits=logits,
    )


def share(tree: Any) -> int:
    """Bytes of a tree of placed shapes on one device."""
    return sum(_elements(x) * jnp.dtype(x.dtype).itemsize for x in jax.tree.leaves(tree))


def _frozen(workload: Workload, at: Place) -> Any:
    return workloads.frozen(workload, at), workloads.reference(workload, at)


class _Call(NamedTuple):
    """rows of one device, their columns, and the columns of logits held at once. scores: attention
    keeps all of a row's. entropy: it is computed beside the log-probs."""

    model: ModelConfig
    layout: axes.Layout | None
    scores: bool
    rows: int
    columns: int
    chunk: int
    entropy: bool = False

    @property
    def residual(self) -> int:
        """Bytes of the residual stream."""
        itemsize = jnp.dtype(self.model.dtype).itemsize
        return self.rows * self.columns * self.model.hidden_size * itemsize


def _calls(workload: Workload, at: Place, scores: bool) -> tuple[list[_Call], _Call]:
    """Those that compute gradients, and the one for π̂(c|x)."""
    training = workload.training
    assert training is not None
    improve, warmup = training.improve, training.warmup

    def call(rows: int, columns: int, chunk: int) -> _Call:
        on_device = -(-rows // _shards(at.train, "batch"))
        return _Call(workload.model, at.train, scores, on_device, columns, chunk or columns)

    def decisions(table: PrefixTable) -> _Call:
        chunk = min(improve.logprob_chunk or table.columns, table.columns)
        # What a column sees is a tree, for which no flash kernel exists.
        found = call(table.problems, table.width + table.columns, chunk)
        return found._replace(scores=True)

    policy = call(improve.microbatch_rows, improve.buckets[-1], improve.logprob_chunk)
    gradients = [policy._replace(entropy=improve.entropy_weight > 0)]
    if training.decisions is not None:
        gradients.append(decisions(training.decisions))
    if warmup is not None:
        gradients.append(call(warmup.rows, warmup.buckets[-1], warmup.logprob_chunk))
    return gradients, decisions(training.scored)


def _activations(call: _Call) -> int:
    """Saved for the backward pass of all layers, and the working set of one."""
    saved, working = call.residual * RESIDUAL_COPIES, _layer(call)
    if not call.model.remat:
        saved += working
    # The next layer's weights are gathered while one computes.
    layer = _layer_bytes(call.model, call.layout)
    return saved * call.model.num_layers + working + 2 * layer


def _forward(call: _Call) -> int:
    """Without a backward pass: one layer's working set or a chunk's logits, beside the residual
    stream and its normed copy."""
    model, layout = call.model, call.layout
    widest = max(_layer(call) // PROJECTION_COPIES, _logits(call) // LOGIT_COPIES)
    if _shards(layout, "embed") > 1:  # the vocabulary's matrix is gathered
        matrix = jnp.dtype(model.dtype).itemsize * model.vocab_size * model.hidden_size
        widest += matrix // _shards(layout, "vocab")
    return widest + 2 * call.residual


def _layer(call: _Call) -> int:
    """The working set of one layer."""
    projected = _projected(call.model, call.layout) * PROJECTION_COPIES
    working = call.rows * call.columns * projected
    if call.scores:
        heads = call.model.num_heads // _shards(call.layout, "heads")
        working += 4 * SCORE_COPIES * heads * call.rows * call.columns**2
    return working


def _logits(call: _Call) -> int:
    several = LOGIT_COPIES + ENTROPY_COPIES * call.entropy
    copies = 4 * several * call.rows * min(call.chunk, call.columns)
    return copies * call.model.vocab_size // _shards(call.layout, "vocab")


def _projected(model: ModelConfig, layout: axes.Layout | None) -> int:
    """Bytes of a token's queries, keys, values, feed-forward and norms within one layer."""
    heads = (2 * model.num_heads // _shards(layout, "heads")) * model.head_dim
    heads += (2 * model.num_kv_heads // _shards(layout, "kv_heads")) * model.head_dim
    if model.experts is None:
        wide = 3 * model.intermediate_size // _shards(layout, "mlp")
    else:
        wide = 3 * model.experts.width * model.experts.per_token
    return (heads + wide + 2 * model.hidden_size) * jnp.dtype(model.dtype).itemsize


def _layer_bytes(model: ModelConfig, layout: axes.Layout | None) -> int:
    """One layer's weights in the activations' dtype, gathered over all but the tensor axis."""
    blocks = transformer.abstract_params(model)["blocks"]
    count = sum(math.prod(x.shape[1:]) for x in jax.tree.leaves(blocks))
    return count * jnp.dtype(model.dtype).itemsize // _shards(layout, "mlp")


def _copied(workload: Workload, at: Place) -> int:
    """Bytes of the sampler's parameters that are not the very arrays that training holds."""
    leaves = jax.tree_util.tree_leaves_with_path
    ours = dict(leaves(workloads.model_params(workload, at)))
    theirs = dict(leaves(workloads.sampled_params(workload, at)))
    if workload.lora is not None and workload.model.dtype == "float32":  # adapters are merged
        merged = {PROJECTIONS[target].name for target in workload.lora.targets}
        ours = {path: x for path, x in ours.items() if path[-1].key not in merged}

    def is_own(path: Any, x: Any) -> bool:
        one = ours.get(path)
        return (
            one is None
            or one.dtype != x.dtype
            or not one.sharding.is_equivalent_to(x.sharding, x.ndim)
        )

    return sum(share(x) for path, x in theirs.items() if is_own(path, x))


def _elements(x: Any) -> int:
    return math.prod(x.sharding.shard_shape(x.shape))


def _shards(layout: axes.Layout | None, logical: str) -> int:
    return 1 if layout is None else layout.shards(logical)


def holds_scores(model: ModelConfig, platform: str) -> bool:
    """Whether training's attention on this platform keeps all scores of a row: where no kernel of
    `acim_kernels.attention` covers the model."""
    kernels = {"tpu": tpu, "gpu": gpu, "cuda": gpu}
    if platform not in kernels:
        return True
    query: Any = jax.ShapeDtypeStruct((1, 1, model.num_heads, model.head_dim), model.dtype)
    varies = model.sliding_window is not None and model.full_attention_layers > 0
    window: Any = jax.ShapeDtypeStruct((), jnp.int32) if varies else model.sliding_window
    return kernels[platform].limit(query, window) is not None
