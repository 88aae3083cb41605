"""The shapes of a run, which decide what its devices hold, and where they are to be held."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from acim_jax.config.run import RunConfig
from acim_jax.explore import decisions
from acim_jax.improve import packing
from acim_jax.improve import state as train_state
from acim_jax.improve.config import ImproveConfig, WarmupConfig
from acim_jax.improve.packing import DecisionBatch, TokenBatch
from acim_jax.improve.state import TrainState
from acim_jax.markup.prefix_rows import PrefixRows
from acim_jax.model import cache, lora, transformer
from acim_jax.model.config import LoraConfig, ModelConfig
from acim_jax.records import DECISIONS
from acim_jax.sampling import state as sampler_state
from acim_jax.sampling.config import SamplingConfig
from acim_jax.sampling.state import SamplerState
from acim_jax.sharding import axes, place


class PrefixTable(NamedTuple):
    """The shape of `markup.prefix_rows.PrefixRows`: P problems, prompts of W columns, N prefixes on
    S columns."""

    problems: int
    width: int
    columns: int
    prefixes: int


@dataclasses.dataclass(frozen=True)
class Training:
    """What the learner's functions are compiled for.

    scored: the problems for which π̂(c|x) is computed at once. decisions: those of an optimiser
    step's decision batch, None where the loss has no such term. warmup: None where there is none.
    has_reference: whether the weights that a KL in loss or reward is to are held, for this stage of
    a run or another.
    """

    improve: ImproveConfig
    scored: PrefixTable
    decisions: PrefixTable | None = None
    warmup: WarmupConfig | None = None
    lora: LoraConfig | None = None
    has_reference: bool = False


@dataclasses.dataclass(frozen=True)
class Workload:
    """training: None where a model is only sampled from."""

    model: ModelConfig
    sampling: SamplingConfig
    training: Training | None = None

    @property
    def lora(self) -> LoraConfig | None:
        return None if self.training is None else self.training.lora


def of_run(
    config: RunConfig,
    model: ModelConfig,
    *,
    prefixes: int,
    columns: int,
    width: int,
    shards: int,
    reference: bool = False,
) -> Workload:
    """The shapes of a run's compiled functions.

    prefixes: of all decisions, on `columns` columns. width: columns of prompts. shards: parts of
    the batch axes. reference: whether another stage needs the reference's weights.
    """
    explore, improve = config.explore, config.improve

    def table(problems: int) -> PrefixTable:
        return PrefixTable(-(-problems // shards) * shards, width, columns, prefixes)

    decides = explore.guided_rollouts > 0 and improve.decision_weight > 0
    training = Training(
        improve,
        scored=table(decisions.BATCH_PROBLEMS),
        decisions=table(-(-explore.problems // improve.minibatches)) if decides else None,
        warmup=config.warmup if config.warmup.steps else None,
        lora=config.lora,
        has_reference=config.has_reference or reference,
    )
    return Workload(model, config.sampling, training)


@dataclasses.dataclass(frozen=True)
class Place:
    """Layouts of training and of sampling, or the one device where both are None."""

    train: axes.Layout | None
    sample: axes.Layout | None
    device: Any = None

    def put(self, tree: Any, logical: tuple[str, ...] = (), *, train: bool = True) -> Any:
        """The tree's shapes with their first axes sharded as named, or on the one device."""
        layout = self.train if train else self.sample
        return place.shapes(tree, self._one if layout is None else layout.sharding(logical))

    def params(self, tree: Any, *, train: bool = True) -> Any:
        """The tree's shapes, sharded as parameters are."""
        layout = self.train if train else self.sample
        if layout is None:
            return place.shapes(tree, self._one)
        return place.shapes(tree, place.param_shardings(tree, layout))

    @property
    def platform(self) -> str:
        """Of the one device; of this process's where there are layouts."""
        return (jax.devices()[0] if self.device is None else self.device).platform

    @property
    def _one(self) -> SingleDeviceSharding:
        return SingleDeviceSharding(jax.devices()[0] if self.device is None else self.device)


def model_params(workload: Workload, at: Place) -> transformer.Params:
    """The model's parameters as the learner holds them."""
    return at.params(transformer.abstract_params(workload.model))


def sampled_params(workload: Workload, at: Place) -> transformer.Params:
    """The model's parameters as the sampler holds them: in the activations' dtype, with the
    adapters that are not merged and the copies for decoding beside them."""
    config = dataclasses.replace(workload.model, param_dtype=workload.model.dtype)
    params = transformer.abstract_params(config)
    if workload.lora is not None:
        found = jax.eval_shape(
            lambda adapters, frozen: lora.for_sampling(adapters, frozen, config),
            lora.abstract(workload.lora, params),
            lora.Frozen(params, shape((), jnp.float32)),
        )
        params = jax.tree.map(lambda x: shape(x.shape, config.dtype), found)
    if transformer.decodes_by_layers(config, at.sample, at.platform):
        params |= jax.eval_shape(lambda own: transformer.decode_params(own, config), params)
    return at.params(params, train=False)


def trained_params(workload: Workload, at: Place) -> transformer.Params:
    """What is trained: the model's parameters, or the adapters to them."""
    if workload.lora is None:
        return model_params(workload, at)
    base = transformer.abstract_params(workload.model)
    return at.params(lora.abstract(workload.lora, base))


def frozen(workload: Workload, at: Place) -> lora.Frozen | None:
    if workload.lora is None:
        return None
    return lora.Frozen(model_params(workload, at), at.put(shape((), jnp.float32)))


def reference(workload: Workload, at: Place) -> transformer.Params | None:
    """Weights that a KL is to, beside those that are trained (`improve.Learner`)."""
    chosen = workload.training
    if chosen is None or chosen.lora is not None or not chosen.has_reference:
        return None
    return model_params(workload, at)


def state(workload: Workload, at: Place) -> TrainState:
    """The training state, sharded as `improve.state.create` does."""
    assert workload.training is not None
    optimiser = train_state.optimizer(workload.training.improve)
    found = train_state.abstract(trained_params(workload, at), optimiser, at.train)
    return at.put(found) if at.train is None else found


def token_batch(rows: int, width: int, at: Place) -> TokenBatch:
    numbers = shape((rows, width), jnp.float32)
    ids, by_row = shape((rows, width), jnp.int32), shape((rows,), jnp.float32)
    return at.put(TokenBatch(ids, numbers, numbers, by_row), ("batch",))


def policy_batch(improve: ImproveConfig, at: Place) -> TokenBatch:
    """The widest batch of the policy term, with what its objective takes beside."""
    width, rows = improve.buckets[-1], improve.microbatch_rows
    made = packing.pack([packing.blank_row(improve, width)], width, rows)
    return at.put(jax.tree.map(lambda x: shape(x.shape, x.dtype), made), ("batch",))


def decision_batch(table: PrefixTable, at: Place) -> DecisionBatch:
    P, W, S, N = table
    rows = PrefixRows(
        shape((P, W), jnp.int32),
        shape((P,), jnp.int32),
        shape((P, S), jnp.int32),
        shape((P, S), jnp.int32),
        shape((P, len(DECISIONS), N), jnp.bool_),
    )
    shapes = DecisionBatch(rows, shape((P, len(DECISIONS)), jnp.float32))
    return at.put(shapes, ("batch",))


def sampler(workload: Workload, at: Place) -> SamplerState:
    """The sampler's state, sharded as `sampling.state.constrain` does."""
    model, config = workload.model, workload.sampling
    shapes = jax.eval_shape(
        lambda: sampler_state.create(model=model, config=config, layout=at.sample)
    )
    placed = at.put(shapes, ("batch",), train=False)
    if at.sample is None:
        return placed
    shardings = cache.page_shardings(shapes.pages, at.sample)
    return placed._replace(pages=place.shapes(shapes.pages, shardings))


def shape(sizes: tuple[int, ...], dtype: Any) -> Any:
    """What stands for an array; the compiled functions' types know arrays only."""
    return jax.ShapeDtypeStruct(sizes, dtype)
