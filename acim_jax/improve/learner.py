"""What trains: model, optimiser, layout, and the frozen base of a LoRA run."""

# The types of jax and optax are known in part.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

import dataclasses
import functools
from typing import Any

import jax
import optax

from acim_jax.improve import state as train_state
from acim_jax.improve.state import TrainState
from acim_jax.model import lora, transformer
from acim_jax.model.config import LoraConfig, ModelConfig
from acim_jax.sharding import axes, place


@dataclasses.dataclass(frozen=True, eq=False)
class Learner:
    """What stays the same over a run's optimiser steps.

    *Trained* parameters are the model's own or, with `frozen`, the adapters to that base.
    reference: weights of the model that the objective's KL is to, held beside the trained ones
    (as many bytes again); None where there is no such term, and in a LoRA run.
    """

    model: ModelConfig
    optimiser: optax.GradientTransformation
    layout: axes.Layout | None = None
    frozen: lora.Frozen | None = None
    reference: transformer.Params | None = None

    @property
    def reference_params(self) -> transformer.Params:
        """Of a LoRA run the base without adapters. ValueError where there are none."""
        params = self.reference if self.frozen is None else self.frozen.params
        if params is None:
            raise ValueError(
                "A KL to the reference needs the reference's parameters, but the learner has "
                "neither these nor a frozen base; give Learner(reference=…)."
            )
        return params

    @property
    def shared(self) -> dict[str, Any]:
        """Keyword arguments of every gradient term."""
        return {"config": self.model, "layout": self.layout, "frozen": self.frozen}

    def model_params(self, trained: lora.Params) -> transformer.Params:
        """The parameters that the model is scored with."""
        return lora.model_params(trained, self.frozen)

    def sampling_params(
        self, trained: lora.Params, sample_layout: axes.Layout | None
    ) -> transformer.Params:
        """The model's weights in the sampler's sharding and dtype, with the adapters of a LoRA run
        merged into them or beside them (`lora.for_sampling`)."""
        params = trained
        if self.frozen is not None:
            params = lora.for_sampling(params, self.frozen, self.model, layout=self.layout)
        params = transformer.for_sampling(params, self.model, self.layout)
        if self.layout is None or sample_layout is None:
            return params
        return place.to_sampling(params, self.layout, sample_layout)

    def new_adapters(self, config: LoraConfig, seed: int) -> lora.Params:
        """Adapters to `frozen`, drawn from the seed, in the training layout."""
        assert self.frozen is not None
        make = jax.jit(functools.partial(lora.init, config, self.frozen.params))
        return place.to_layout(make(jax.random.key(seed)), self.layout)

    def new_state(self, trained: lora.Params) -> TrainState:
        return train_state.create(trained, self.optimiser, self.layout)

    def with_new_moments(self, state: TrainState) -> TrainState:
        """The state with its optimiser as at the beginning; parameters and steps stay."""
        return state._replace(opt_state=self.new_state(state.params).opt_state)

    def abstract_state(self, lora_config: LoraConfig | None) -> TrainState:
        """Shapes, dtypes and shardings of the training state, for restoring a checkpoint."""
        params = transformer.abstract_params(self.model)
        if lora_config is not None:
            params = lora.abstract(lora_config, params)
        return train_state.abstract(params, self.optimiser, self.layout)
