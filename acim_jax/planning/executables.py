"""The compiled functions of a run, lowered from shapes alone, and the memory that they take.

The functions are the ones that a run calls; only their arguments are shapes instead of arrays.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.stages import Lowered

from acim_jax.explore import decisions
from acim_jax.improve import state as train_state
from acim_jax.improve import step
from acim_jax.model import lora
from acim_jax.planning import workload as workloads
from acim_jax.planning.workload import Place, Workload, shape
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
    rows = -(-config.prefill_rows // D)

    def whole(*sizes: int, dtype: Any = jnp.int32) -> Any:
        return at.put(shape(sizes, dtype), train=False)

    flags = whole(model.vocab_size, dtype=jnp.uint8)
    shared: dict[str, Any] = {"config": model, "layout": at.sample}
    decoded = (params, state, flags, whole(), whole())
    found: dict[str, Callable[[], Lowered]] = {
        "decode": partial(decode.decode.lower, *decoded, chunk=config.chunk, **shared)
    }
    tables, starts = whole(D, rows, config.pages_per_row), whole(D, rows)
    for width in config.prefill_buckets:
        extended = (params, state, tables, starts, whole(D, rows, width))
        found[f"extend {width}"] = partial(extend.extend.lower, *extended, **shared)
    return found


def training(workload: Workload, at: Place) -> dict[str, Callable[[], Lowered]]:
    """The learner's functions: the gradient of each term in its widest shape, the optimiser's step,
    the decisions' log-probs for π̂(c|x), and of a LoRA run in float32 the merge for the sampler."""
    chosen, model = workload.training, workload.model
    assert chosen is not None
    improve, chunk = chosen.improve, {"chunk": chosen.improve.logprob_chunk}
    state, frozen = workloads.state(workload, at), workloads.frozen(workload, at)
    gradients = at.params(jax.tree.map(lambda x: shape(x.shape, jnp.float32), state.params))
    number = at.put(shape((), jnp.float32))
    found: dict[str, Callable[[], Lowered]] = {}

    def gradient(name: str, function: Any, batch: Any, *numbers: Any, **settings: Any) -> None:
        found[f"{name} gradient"] = partial(
            function.lower, gradients, state.params, batch, *numbers,
            config=model, layout=at.train, frozen=frozen, **settings,
        )  # fmt: skip

    batch = workloads.token_batch(improve.microbatch_rows, improve.buckets[-1], at)
    policy_batch = workloads.policy_batch(improve, at)
    settings = {"objective": improve.objective, **chunk}
    gradient("policy", step.add_policy_gradient, policy_batch, number, number, **settings)
    if improve.replay_weight > 0:
        gradient("replay", step.add_likelihood_gradient, batch, number, number, **chunk)
    if chosen.warmup is not None:
        rows = workloads.token_batch(chosen.warmup.rows, chosen.warmup.buckets[-1], at)
        gradient("warm-up", step.add_likelihood_gradient, rows, number, number)
    if chosen.decisions is not None:
        decided, numbers = workloads.decision_batch(chosen.decisions, at), (number,) * 3
        gradient("decision", step.add_decision_gradient, decided, *numbers, **chunk)
    optimiser = train_state.optimizer(improve)
    found["optimiser"] = partial(step.apply.lower, state, gradients, number, optimiser=optimiser)
    scored = workloads.decision_batch(chosen.scored, at)
    score = partial(decisions.decision_logprobs.lower, config=model, layout=at.train, **chunk)
    params = at.params(jax.eval_shape(lora.model_params, state.params, frozen))
    found["scoring"] = partial(score, params, scored.rows, number)
    if frozen is not None and model.dtype == "float32":
        found["merge"] = partial(jax.jit(partial(_merge, at)).lower, state.params, frozen)
    return found


def _merge(at: Place, adapters: lora.Params, frozen: lora.Frozen) -> lora.Params:
    # The other weights of the result are the base's own arrays.
    return lora.adapted(adapters, lora.merge(adapters, frozen, layout=at.train, dtype="float32"))
