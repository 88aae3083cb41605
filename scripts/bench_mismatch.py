"""The sampler's log-probs against the trainer's on a model folder, in several ways of computing.

    python scripts/bench_mismatch.py --model DIR --data FILE --rollouts 8 --tokens 48

Every line samples native rollouts and scores them as an M-step does before its first update. LoRA
lines have adapters after --steps steps on the rollouts of the first line. *update seen*: of what
the adapters change in the log-probs of those tokens, by float32, the share that the sampler's
weights change, measured along it; 1 is all. *planted*: the sampler's weights are off by a relative
1e-3. *gate*: whether `improve.max_mismatch` at its default refuses to train on such rollouts.
"""

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from acim_jax.checkpoint import model_folder
from acim_jax.checkpoint.model_folder import ModelFolder
from acim_jax.data import problems
from acim_jax.improve import mismatch, packing, step
from acim_jax.improve.config import ImproveConfig
from acim_jax.improve.learner import Learner
from acim_jax.improve.packing import TokenBatch, TokenRow
from acim_jax.improve.state import optimizer
from acim_jax.model import lora, scoring, transformer
from acim_jax.model.config import Dtype, LoraConfig, ModelSource
from acim_jax.records import Example, Problem, RolloutRequest, SamplingParams
from acim_jax.rollout import converse
from acim_jax.rollout.sampler import Sampler
from acim_jax.sampling.config import SamplingConfig
from scripts import bench

PLANTED = 1e-3
COLUMNS = ("> 0.1 %", "> 1 %", "> 5 %", "mean |Δ|", "max |Δ|", "KL", "gate", "update seen")
#: Columns of logits held at once.
CHUNK = 64
LORA = LoraConfig(rank=8, alpha=16.0)


class Setting(NamedTuple):
    """One line of the table: how the model computes, and what the sampler's weights are;
    `adapters` as a run samples them."""

    name: str
    dtype: Dtype
    kv_cache: Literal["model", "int8"] = "model"
    weights: Literal["own", "planted", "adapters", "merged"] = "own"


SETTINGS = (
    Setting("float32", "float32"),
    Setting("float32, int8 cache", "float32", kv_cache="int8"),
    Setting("float32, planted", "float32", weights="planted"),
    Setting("float32, LoRA", "float32", weights="adapters"),
    Setting("bfloat16", "bfloat16"),
    Setting("bfloat16, LoRA", "bfloat16", weights="adapters"),
    Setting("bfloat16, LoRA merged in bfloat16", "bfloat16", weights="merged"),
)


class Opened(NamedTuple):
    """The model of one line. length: columns of its rows."""

    model: ModelFolder
    base: transformer.Params
    learner: Learner
    config: ImproveConfig
    length: int


class Adapted(NamedTuple):
    """Adapters trained on the rollouts of `batch`, and what they change in the log-probs of its
    targets, [n]."""

    adapters: lora.Params
    batch: TokenBatch
    change: np.ndarray


def open_model(setting: Setting, asked: Sequence[Problem], args: argparse.Namespace) -> Opened:
    source = ModelSource(args.model, dtype=setting.dtype, param_dtype=setting.dtype)
    model = model_folder.open_model(source)
    prompts = [model.tokenizer.prompt_ids(p.question, model.markup) for p in asked]
    length = args.tokens + max(map(len, prompts))
    config = ImproveConfig(buckets=(length,), microbatch_rows=args.rollouts, logprob_chunk=CHUNK)
    base = model_folder.load_params(model, None)
    return Opened(model, base, Learner(model.config, optimizer(config)), config, length)


def line(
    setting: Setting, at: Opened, rows: Sequence[TokenRow], trained: lora.Params, seen: str
) -> list[str]:
    found = mismatch.measure(trained, rows, at.learner, at.config, temperature=1.0)
    assert found is not None
    int8_cache = setting.kv_cache == "int8"
    limit = mismatch.limit(at.config, at.model.config, int8_cache=int8_cache)
    return [
        *(f"{share:.1%}" for share in (found.off_01, found.off_1, found.off_5)),
        f"{found.mean:.1e}",
        f"{found.largest:.1e}",
        f"{found.kl:.1e}",
        "refuses" if found.mean > limit else "passes",
        seen,
    ]


def rollouts(
    setting: Setting,
    at: Opened,
    sampled: transformer.Params,
    asked: Sequence[Problem],
    args: argparse.Namespace,
) -> list[TokenRow]:
    """Of one response to each question; programs are not run."""
    config = SamplingConfig(slots=args.rollouts, max_length=at.length, kv_cache=setting.kv_cache)
    sampler = Sampler(at.model.config, config, at.model.tokenizer, at.model.markup)
    wanted = [RolloutRequest(p, "native", 0, max_tokens=args.tokens) for p in asked]
    episodes, _ = converse.converse(
        sampled, wanted, sampler, None, seed=0, iteration=0, sampling=SamplingParams(1.0)
    )
    return [packing.example_row(Example(one, 1.0)) for one in episodes]


def adapt(at: Opened, rows: Sequence[TokenRow], args: argparse.Namespace) -> Adapted:
    """Adapters after a few steps that make `rows` likelier."""
    learner = dataclasses.replace(at.learner, frozen=frozen(at.base))
    state = learner.new_state(lora.init(LORA, at.base, jax.random.key(0)))
    packed = packing.pack(rows, at.length, len(rows))
    batch = jax.tree.map(jnp.asarray, packed)
    total = np.float32(np.sum(packed.weights))
    for _ in range(args.steps):
        gradients, _ = step.add_likelihood_gradient(
            step.zeros(state.params), state.params, batch, total, np.float32(1.0),
            chunk=CHUNK, **learner.shared,
        )  # fmt: skip
        lr = np.float32(args.lr)
        state, _ = step.apply(state, gradients, lr, optimiser=learner.optimiser)
    beside = learner.model_params(state.params)
    return Adapted(state.params, packed, change(at, beside, packed))


def change(at: Opened, params: transformer.Params, batch: TokenBatch) -> np.ndarray:
    """What these parameters change in the log-probs of the batch's targets, [n]."""
    ids, targets = jnp.asarray(batch.token_ids), np.asarray(batch.weights) > 0
    score = jax.jit(scoring.token_logprobs, static_argnums=1, static_argnames="chunk")
    one, other = (score(p, at.model.config, ids, chunk=CHUNK) for p in (params, at.base))
    return (np.asarray(one, np.float64) - np.asarray(other, np.float64))[targets]


def frozen(base: transformer.Params) -> lora.Frozen:
    return lora.Frozen(base, jnp.float32(LORA.scale))


def planted(params: transformer.Params) -> transformer.Params:
    """Every weight times 1 + PLANTED · N(0, 1)."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noise = [jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
    moved = [x * (1 + PLANTED * n) for x, n in zip(leaves, noise, strict=True)]
    return jax.tree.unflatten(tree, moved)


def measure_all(asked: Sequence[Problem], args: argparse.Namespace) -> Iterator[list[str]]:
    """The lines of the table; the adapters come from the first one's rollouts."""
    adapted: Adapted | None = None
    for setting in SETTINGS:
        at = open_model(setting, asked, args)
        trained, sampled, seen = at.base, at.base, ""
        if setting.weights == "planted":
            sampled = planted(at.base)
        elif setting.weights != "own":
            assert adapted is not None
            at = at._replace(learner=dataclasses.replace(at.learner, frozen=frozen(at.base)))
            trained = adapted.adapters
            sampled = at.learner.sampling_params(trained, None)
            if setting.weights == "merged":
                sampled = lora.merge(trained, frozen(at.base))
            found = change(at, sampled, adapted.batch)
            seen = f"{np.dot(found, adapted.change) / np.dot(adapted.change, adapted.change):.2f}"
        rows = rollouts(setting, at, sampled, asked, args)
        yield [setting.name, *line(setting, at, rows, trained, seen)]
        adapted = adapted or adapt(at, rows, args)
        jax.clear_caches()


def main() -> None:
    parser = bench.options(__doc__)
    parser.add_argument("--model", required=True, metavar="DIR")
    parser.add_argument("--data", required=True, metavar="FILE")
    parser.add_argument("--rollouts", type=int, default=8, metavar="N")
    parser.add_argument("--tokens", type=int, default=48, metavar="N", help="of each response")
    parser.add_argument("--steps", type=int, default=4, metavar="N", help="of the adapters")
    parser.add_argument("--lr", type=float, default=1e-4, help="of these steps")
    args = parser.parse_args()
    asked = problems.load(args.data, limit=args.rollouts)
    print("", *COLUMNS, sep=" | ")
    for cells in measure_all(asked, args):
        print(*cells, sep=" | ", flush=True)


if __name__ == "__main__":
    main()
