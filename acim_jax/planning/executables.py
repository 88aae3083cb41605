"""The compiled functions of a run, lowered from shapes alone, and the memory that they take.

The functions are the ones that a run calls; only their arguments are shapes instead of arrays.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.stages import Lowered

from acim_jax.improve import state as train_state
from acim_jax.improve import step
from acim_jax.improve.packing import DecisionBatch
from acim_jax.model import lora, scoring
from acim_jax.planning import workload as workloads
from acim_jax.planning.workload import Place, Workload
from acim_jax.sampling import decode, extend


class Measured(NamedTuple):
    """Bytes per device of one executable. results: those that reuse no argument's memory."""

    arguments: int
    results: int
    temporaries: int
    code: int

    @property
    def total(self) -> int:
        """What must be free for the call, its arguments included."""
        return self.arguments + self.results + self.temporaries + self.code


def measure(lowered: Lowered, options: dict[str, Any] | None = None) -> Measured:
    """Compiles for the devices that the function was lowered for, and reads the compiler's figures.

    Raises jax.errors.JaxRuntimeError (RESOURCE_EXHAUSTED) where a TPU compiler finds that
    the executable does not fit.
    """
    found = lowered.compile(compiler_options=options).memory_analysis()
    assert found is not None  # every backend that compiles ahead of time has one
    return Measured(
        found.argument_size_in_bytes,
        found.output_size_in_bytes - found.alias_size_in_bytes,
        found.temp_size_in_bytes,
        found.generated_code_size_in_bytes,
    )


def sampling(workload: Workload, at: Place) -> dict[str, Callable[[], Lowered]]:
    """The sampler's functions: `decode`, and `extend` in each of its widths."""
    config, model = workload.sampling, workload.model
    params = workloads.sampled_params(workload, at)
    state = workloads.sampler(workload, at)
    D = state.slots.shape[0]
    whole = functools.partial(at.put, train=False)
    number = whole(_shape((), jnp.int32))
    flags = whole(_shape((model.vocab_size,), jnp.uint8))

    def lower_decode() -> Lowered:
        arrays = (params, state, flags, number, number)
        return decode.decode.lower(*arrays, config=model, chunk=config.chunk, layout=at.sample)

    def lower_extend(width: int) -> Lowered:
        rows = -(-config.prefill_rows // D)
        shapes = (_shape((D, rows, n), jnp.int32) for n in (config.pages_per_row, width))
        tables, token_ids = whole(tuple(shapes))
        starts = whole(_shape((D, rows), jnp.int32))
        return extend.extend.lower(
            params, state, tables, starts, token_ids, config=model, layout=at.sample
        )

    found: dict[str, Callable[[], Lowered]] = {"decode": lower_decode}
    for width in config.prefill_buckets:
        found[f"extend {width}"] = functools.partial(lower_extend, width)
    return found


def training(workload: Workload, at: Place) -> dict[str, Callable[[], Lowered]]:
    """The learner's functions: the gradient of each term in its widest shape, the optimiser's step,
    the decisions' log-probs for π̂(c|x), and of a LoRA run the merge for the sampler."""
    chosen = workload.training
    assert chosen is not None
    state, frozen = workloads.state(workload, at), workloads.frozen(workload, at)
    gradients = at.params(jax.tree.map(lambda x: _shape(x.shape, jnp.float32), state.params))
    number = at.put(_shape((), jnp.float32))
    optimiser = train_state.optimizer(chosen.improve)
    scored = workloads.decision_batch(chosen.scored, at)
    found = _gradients(workload, at, (gradients, state.params), frozen, number)
    found["optimiser"] = lambda: step.apply.lower(state, gradients, number, optimiser=optimiser)
    found["scoring"] = lambda: _lower_scoring(state.params, frozen, scored, number, workload, at)
    if frozen is not None:
        found["merge"] = lambda: _lower_merge(state.params, frozen, at)
    return found


def _gradients(
    workload: Workload, at: Place, given: tuple[Any, Any], frozen: lora.Frozen | None, number: Any
) -> dict[str, Callable[[], Lowered]]:
    """The gradients of the terms that this run has. given: accumulator and trained parameters."""
    chosen = workload.training
    assert chosen is not None
    improve, chunk = chosen.improve, chosen.improve.logprob_chunk
    shared: dict[str, Any] = {"config": workload.model, "layout": at.train, "frozen": frozen}
    batch = workloads.token_batch(improve.microbatch_rows, improve.buckets[-1], at)
    policy = functools.partial(step.add_policy_gradient.lower, *given, **shared)
    likelihood = functools.partial(step.add_likelihood_gradient.lower, *given, **shared)
    decision = functools.partial(step.add_decision_gradient.lower, *given, **shared)
    found: dict[str, Callable[[], Lowered]] = {
        "policy gradient": lambda: policy(
            batch, number, number, clip_epsilon=improve.clip_epsilon, chunk=chunk
        )
    }
    if improve.replay_weight > 0:
        found["replay gradient"] = lambda: likelihood(batch, number, number, chunk=chunk)
    if chosen.warmup is not None:
        rows = workloads.token_batch(chosen.warmup.rows, chosen.warmup.buckets[-1], at)
        found["warm-up gradient"] = lambda: likelihood(rows, number, number)
    if chosen.decisions is not None:
        decisions = workloads.decision_batch(chosen.decisions, at)
        found["decision gradient"] = lambda: decision(
            decisions, number, number, number, chunk=chunk
        )
    return found


def _shape(shape: tuple[int, ...], dtype: Any) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype)


def _lower_merge(adapters: Any, frozen: lora.Frozen, at: Place) -> Lowered:
    def merge(adapters: Any, frozen: lora.Frozen) -> Any:
        # The other weights of the result are the base's own arrays.
        return lora.adapted(adapters, lora.merge(adapters, frozen, layout=at.train))

    return jax.jit(merge).lower(adapters, frozen)


def _lower_scoring(
    params: Any,
    frozen: lora.Frozen | None,
    batch: DecisionBatch,
    temperature: Any,
    workload: Workload,
    at: Place,
) -> Lowered:
    assert workload.training is not None
    chunk = workload.training.improve.logprob_chunk

    def score(params: Any, frozen: lora.Frozen | None, batch: DecisionBatch, temperature: Any):
        return scoring.decision_logprobs(
            lora.model_params(params, frozen),
            workload.model,
            batch.rows,
            temperature=temperature,
            chunk=chunk,
            layout=at.train,
        )

    return jax.jit(score).lower(params, frozen, batch, temperature)
