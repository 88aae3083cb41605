"""What a run works with: mesh, model, tokenizer, sampler, learner and executor, opened once."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any, cast

import jax
import numpy as np

from acim_jax import bad_input, rng
from acim_jax.checkpoint import model_folder
from acim_jax.checkpoint.model_folder import ModelFolder
from acim_jax.config.run import RunConfig
from acim_jax.data import demonstrations
from acim_jax.environment.executor import Executor
from acim_jax.explore import decisions
from acim_jax.grading.grader import Grader
from acim_jax.improve import demonstration_rows, packing
from acim_jax.improve import state as train_state
from acim_jax.improve.fit import Learner
from acim_jax.improve.packing import DecisionBatch, TokenRow
from acim_jax.improve.state import TrainState
from acim_jax.markup import Markup
from acim_jax.model import lora, transformer
from acim_jax.records import DECISIONS, Problem, SamplingParams
from acim_jax.rollout.sampler import Sampler
from acim_jax.sharding import axes, mesh, place

#: Demonstrations that replay draws from.
REPLAY_POOL = 8192
#: Problems scored at once for π̂(c|x); one program.
POLICY_ROWS = 32


@dataclasses.dataclass(frozen=True, eq=False)
class Runtime:
    """A run's resources. `prefix_width`: columns of prompt + decision prefix rows.

    `params` in the methods are the trained ones: the model's, or the adapters of a LoRA run, whose
    frozen base the learner holds.
    """

    config: RunConfig
    model: ModelFolder
    sampler: Sampler
    learner: Learner
    executor: Executor
    grader: Grader
    train_layout: axes.Layout | None
    sample_layout: axes.Layout | None
    prefix_width: int
    replay_pool: Sequence[TokenRow]

    @property
    def markup(self) -> Markup:
        return self.model.markup

    @property
    def sampling_params(self) -> SamplingParams:
        """The distribution of training rollouts."""
        chosen = self.config.sampling
        return SamplingParams(chosen.temperature, chosen.top_k, chosen.top_p, chosen.min_p)

    def to_sampling(self, params: transformer.Params) -> transformer.Params:
        """The model's weights in the sampler's sharding and dtype, adapters merged into them."""
        frozen = self.learner.frozen
        if frozen is not None:
            params = lora.merge(params, frozen, layout=self.train_layout)
        params = transformer.for_sampling(params, self.model.config)
        if self.train_layout is None or self.sample_layout is None:
            return params
        return place.to_sampling(params, self.train_layout, self.sample_layout)

    def replay(self, iteration: int, at: int) -> list[TokenRow]:
        """The demonstrations of one optimiser step, drawn by (seed, iteration, step)."""
        count = self.config.improve.replay_rows
        draw = rng.host(self.config.seed, iteration, "replay", at)
        return [self.replay_pool[i] for i in draw.integers(len(self.replay_pool), size=count)]

    def prefix_ids(self) -> list[list[np.ndarray]]:
        """Ids of every decision's prefixes, in the order of DECISIONS."""
        encode = self.model.tokenizer.encode
        return [[encode(p) for p in self.markup.prefixes(d)] for d in DECISIONS]

    def prompt_ids(self, problem: Problem) -> np.ndarray:
        return self.model.tokenizer.prompt_ids(problem.question, self.markup)

    def policy(
        self, params: transformer.Params, problems: Sequence[Problem]
    ) -> decisions.PolicyEstimate:
        """π̂(c|x) of each problem under `params` (training layout), at the training temperature."""
        if not problems:
            return decisions.PolicyEstimate(np.zeros((0, len(DECISIONS))), np.zeros((0,)))
        batches = []
        for at in range(0, len(problems), POLICY_ROWS):
            chosen = problems[at : at + POLICY_ROWS]
            batch = self._decision_batch(
                chosen, [np.ones((len(DECISIONS),), np.float32)] * len(chosen), POLICY_ROWS
            )
            batches.append(
                decisions.PrefixRows(*self.learner.place((batch.token_ids, batch.is_prefix)))
            )
        estimate = decisions.prefix_policy(
            self.learner.model_params(params),
            batches,
            self.model.config,
            temperature=self.config.sampling.temperature,
            chunk=self.config.improve.logprob_chunk,
            layout=self.train_layout,
        )
        n = len(problems)
        return decisions.PolicyEstimate(estimate.policy[:n], estimate.mass[:n])

    def decision_batches(
        self,
        problems: Sequence[Problem],
        strategies: Sequence[np.ndarray],
        iteration: int,
        *,
        rows: int,
    ) -> list[tuple[DecisionBatch, int]]:
        """One batch of `rows` queries (and padding) for every optimiser step of the M-step.

        Each epoch goes once through all queries, in an order drawn from (seed, iteration, epoch).
        """
        improve = self.config.improve
        batches = []
        for epoch in range(improve.epochs):
            draw = rng.host(self.config.seed, iteration, "decisions", epoch)
            order = draw.permutation(len(problems))
            for chosen in np.array_split(order, improve.minibatches):
                batch = self._decision_batch(
                    [problems[i] for i in chosen], [strategies[i] for i in chosen], rows
                )
                batches.append((batch, len(chosen)))
        return batches

    def _decision_batch(
        self, problems: Sequence[Problem], strategies: Sequence[np.ndarray], rows: int
    ) -> DecisionBatch:
        shards = 1 if self.train_layout is None else self.train_layout.shards("batch")
        return packing.decision_batch(
            [self.prompt_ids(problem) for problem in problems],
            self.prefix_ids(),
            strategies,
            width=self.prefix_width,
            num_rows=-(-rows // shards) * shards,
        )

    def new_adapters(self) -> lora.Params:
        """A LoRA run's adapters, drawn from its seed, in the training layout."""
        config, frozen, layout = self.config.lora, self.learner.frozen, self.train_layout
        assert config is not None and frozen is not None
        make = jax.jit(functools.partial(lora.init, config, frozen.params))
        return place.to_layout(make(jax.random.key(self.config.seed)), layout)

    def new_state(self, params: transformer.Params) -> TrainState:
        return train_state.create(params, self.learner.optimiser, self.train_layout)

    def abstract_state(self) -> TrainState:
        """Shapes, dtypes and shardings of the training state, for restoring a checkpoint."""
        params = transformer.abstract_params(self.model.config)
        if self.config.lora is not None:
            params = lora.abstract(self.config.lora, params)
        return train_state.abstract(params, self.learner.optimiser, self.train_layout)


def check_rows(config: RunConfig) -> None:
    """ValueError, naming the field, for rows that the mesh's batch axes cannot share evenly."""
    train, sample = mesh.layouts(config.mesh)
    for layout in (train, sample):
        config.check_shards(1 if layout is None else layout.shards("batch"))


def prefix_width(model: ModelFolder, problems: Sequence[Problem], multiple: int = 16) -> int:
    """Columns that hold every prompt with every decision prefix."""
    encode = model.tokenizer.encode
    prefixes = [p for d in DECISIONS for p in model.markup.prefixes(d)]
    longest_prefix = max(len(encode(prefix)) for prefix in prefixes)
    prompts = (model.tokenizer.prompt_ids(p.question, model.markup) for p in problems)
    longest = max((len(ids) for ids in prompts), default=1) + longest_prefix
    return -(-longest // multiple) * multiple


@contextlib.contextmanager
def open_runtime(
    config: RunConfig, model: ModelFolder, problems: Sequence[Problem]
) -> Iterator[Runtime]:
    """Opens a run's resources and closes them. problems: all that π̂(c|x) will be asked of.

    The base of a LoRA run is read here (`BadInput` where that fails).
    """
    train_layout, sample_layout = mesh.layouts(config.mesh)
    frozen = None
    if config.lora is not None:
        with bad_input.reading():
            base = model_folder.load_params(model, train_layout)
        frozen = lora.Frozen(base, cast(Any, np.float32(config.lora.scale)))
    with (
        Executor(config.executor) as executor,
        Grader(config.grader, config.executor) as grader,
    ):
        yield Runtime(
            config=config,
            model=model,
            sampler=Sampler(
                model.config, config.sampling, model.tokenizer, model.markup, sample_layout
            ),
            learner=Learner(
                model.config, train_state.optimizer_of(config.improve), train_layout, frozen
            ),
            executor=executor,
            grader=grader,
            train_layout=train_layout,
            sample_layout=sample_layout,
            prefix_width=prefix_width(model, problems),
            replay_pool=_replay_pool(config, model),
        )


def _replay_pool(config: RunConfig, model: ModelFolder) -> Sequence[TokenRow]:
    if config.improve.replay_weight == 0 or config.method == "sft":
        return ()
    sources = list(
        demonstrations.load(
            config.data.demonstrations,
            markup=model.markup,
            limit=REPLAY_POOL,
            seed=config.data.seed + 1,
        )
    )
    rows = demonstration_rows.replay_rows(sources, model.tokenizer, model.markup)
    return [row for row in rows if len(row.token_ids) <= config.improve.buckets[-1]]
