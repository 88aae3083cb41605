"""Tiny random decoders over the embedded tokenizer, and executors with scripted outcomes."""

import dataclasses
import functools
import hashlib
from concurrent.futures import Future

import jax
import numpy as np

from acim_jax.checkpoint import model_names
from acim_jax.environment.executor import Executor
from acim_jax.markup import Markup, tokenizer
from acim_jax.model import transformer
from acim_jax.model.config import ModelConfig
from acim_jax.records import ExecutionResult, Problem, RolloutRequest, SamplingParams, Status
from acim_jax.rollout import converse
from acim_jax.rollout.sampler import Sampler
from acim_jax.sampling.config import SamplingConfig

CONFIG = ModelConfig(
    vocab_size=642,  # two ids more than the tokenizer has, as padded embeddings have
    hidden_size=32,
    intermediate_size=48,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
)

#: A model that samples nearly at random opens a "fence" with any t and closes it with any e.
CHATTY = Markup(
    template="<|user|>{problem}<|assistant|>",
    text_prefixes=("Think: ", "In words: "),
    code_prefixes=("Code: t",),
    code_open="t",
    code_close="e",
    output_open="\n[",
    output_close="]\n",
    max_turns=2,
    max_output_chars=32,
)


@functools.cache
def load_tokenizer() -> tokenizer.Tokenizer:
    return tokenizer.load(model_names.EMBEDDED["tiny"])


def make_params(config: ModelConfig = CONFIG, seed: int = 0) -> transformer.Params:
    """Random weights whose logits differ by about 1 between tokens, and whose biases and norms
    are not at their starting values."""
    params = jax.jit(functools.partial(transformer.init, config))(jax.random.key(seed))

    def disturb(path, x):
        name = jax.tree_util.keystr(path)
        draw = np.random.default_rng([seed, *name.encode()])
        if "b_" in name:
            return x + draw.normal(0, 0.5, x.shape).astype(x.dtype)
        if "norm" in name:
            return x + draw.normal(0, 0.2, x.shape).astype(x.dtype)
        return x * 8 if "embed" in name else x

    return jax.tree_util.tree_map_with_path(disturb, params)


def make_sampler(
    config: ModelConfig = CONFIG, markup: Markup = CHATTY, layout=None, **settings
) -> Sampler:
    defaults = SamplingConfig(
        slots=8, max_length=72, chunk=16, prefill_rows=4, prefill_buckets=(8, 16)
    )
    chosen = dataclasses.replace(defaults, **settings)
    return Sampler(config, chosen, load_tokenizer(), markup, layout)


def problems(count: int) -> list[Problem]:
    """Questions of different lengths."""
    return [
        Problem(
            f"p{i}", f"Find the sum of {10**i} and {i}" + "?" * i, str(10**i + i), subject="sum"
        )
        for i in range(count)
    ]


class ScriptedExecutor(Executor):
    """Answers at once and by the program's text alone: no process is started."""

    def __init__(self, statuses: tuple[Status, ...] = (Status.OK, Status.ERROR, Status.TIMEOUT)):
        self.statuses = statuses
        self.programs: list[str] = []

    def submit(self, code: str, timeout_s: float | None = None) -> Future[ExecutionResult]:
        self.programs.append(code)
        digest = hashlib.blake2s(code.encode(), digest_size=4).digest()
        status = self.statuses[digest[0] % len(self.statuses)]
        result = ExecutionResult(
            code=code,
            stdout=f"{len(code)} long\n",
            stderr="Traceback\nNameError: x" if status is Status.ERROR else "",
            status=status,
            wall_s=0.0,
        )
        future: Future[ExecutionResult] = Future()
        future.set_result(result)
        return future


def requests(count: int = 3, rollouts: int = 5) -> list[RolloutRequest]:
    """Native and guided rollouts; text under its second prefix."""
    prefixes = {"native": "", "text": CHATTY.text_prefixes[1], "code": CHATTY.code_prefixes[0]}
    return [
        RolloutRequest(problem, guide, index, prefix)  # pyright: ignore[reportArgumentType]
        for problem in problems(count)
        for guide, prefix in prefixes.items()
        for index in range(rollouts)
    ]


def run(
    sampler, wanted, executor=None, *, params=None, temperature=1.0, config=CONFIG, **truncation
):
    params = make_params(config) if params is None else params
    return converse.converse(
        transformer.for_sampling(params, sampler.model, sampler.layout),
        wanted,
        sampler,
        ScriptedExecutor() if executor is None else executor,
        seed=3,
        iteration=1,
        sampling=SamplingParams(temperature, **truncation),
    )
