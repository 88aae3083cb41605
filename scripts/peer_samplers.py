"""Other samplers on the same checkpoint folder, for `bench_sampling.py`.

Both make every row of a batch as long as the longest; a row's tokens behind its asked-for length
are not counted. No token ends a row, so that all systems draw from the same distribution.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from acim_jax.model.config import ModelConfig
from acim_jax.run import compilation

T = TypeVar("T")
BOS, PAD = 1, 2
#: The trainer's log-probs of whole rows.
Score = Callable[[list[np.ndarray]], list[np.ndarray]]


class Timed(NamedTuple):
    """Wall seconds of a call, CPU seconds of this process, and functions compiled meanwhile."""

    seconds: float
    cpu_seconds: float
    compiled: int


class Measured(NamedTuple):
    """One timed run. prefill: prompt tokens computed; wait: host seconds for the device; worst:
    |Δlogp| to the trainer; schedule: functions compiled while settings changed."""

    timed: Timed
    prefill: int
    wait: float | None = None
    worst: float | None = None
    schedule: str = "–"


def timed(call: Callable[[], T]) -> tuple[T, Timed]:
    with compilation.CompileCounter() as counter:
        wall, cpu = time.perf_counter(), time.process_time()
        result = call()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return result, Timed(wall, cpu, counter.take().executables)


def schedule(*calls: Callable[[], Any]) -> str:
    """Functions that each call compiles."""
    return ", ".join(str(timed(call)[1].compiled) for call in calls)


class Bytes:
    """What Tunix asks of a tokenizer: a token is a byte."""

    bos_token_id = BOS

    def encode(self, text: str, **_: Any) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        return "".join(chr(32 + int(i) % 90) for i in ids)

    def bos_id(self) -> int:
        return BOS

    def eos_id(self) -> int:
        return 1 << 20  # beyond every vocabulary: it is never drawn

    def pad_id(self) -> int:
        return PAD

    def dedup_bos_ids(self, ids: list[int]) -> list[int]:
        return ids


class Tunix:
    """google-tunix 0.1.7's own sampler: one static batch of all rollouts."""

    def __init__(self, folder: Path, config: ModelConfig, questions: list[str], lengths) -> None:
        from tunix.generate.sampler import CacheConfig, Sampler  # pyright: ignore
        from tunix.models.qwen2 import model, params  # pyright: ignore

        self.lengths, copies = lengths, len(lengths) // len(questions)
        self.texts = [question for question in questions for _ in range(copies)]
        theirs = model.ModelConfig(
            num_layers=config.num_layers,
            vocab_size=config.vocab_size,
            embed_dim=config.hidden_size,
            hidden_dim=config.intermediate_size,
            num_heads=config.num_heads,
            head_dim=config.head_dim,
            num_kv_heads=config.num_kv_heads,
            rope_theta=config.rope_theta,
            norm_eps=config.norm_eps,
            use_tied_embedding=config.tie_embeddings,
        )
        axes = (jax.sharding.AxisType.Auto,) * 2
        self.mesh = jax.make_mesh(
            (1, 1), ("fsdp", "tp"), axis_types=axes, devices=jax.devices()[:1]
        )
        with jax.set_mesh(self.mesh):
            policy = params.create_model_from_safe_tensors(str(folder), theirs, self.mesh)
            cache = CacheConfig(
                32 + max(lengths), config.num_layers, config.num_kv_heads, config.head_dim
            )
            self.sampler = Sampler(policy, Bytes(), cache)
        self.schedule: str | None = None

    def run(self, texts: list[str], **settings: Any) -> Any:
        given = {"temperature": 1.0, "top_p": 1.0, "seed": 0, "max_prompt_length": 32} | settings
        with jax.set_mesh(self.mesh):
            return self.sampler(
                texts,
                max_generation_steps=int(max(self.lengths)),
                return_logprobs=True,
                pad_output=True,
                **given,
            )

    def measure(self, score: Score) -> Measured:
        out, taken = timed(lambda: self.run(self.texts))
        if self.schedule is None:
            some = self.texts[:40]
            self.run(some)
            self.schedule = schedule(
                lambda: self.run(some, temperature=0.9),
                lambda: self.run(some, top_p=0.9),
                lambda: self.run(self.texts[:6]),
                lambda: self.run(["x" * 30], max_prompt_length=None),
            )
        prompts = [np.array([BOS, *text.encode()], np.int32) for text in self.texts]
        worst = self._worst(out, prompts, score)
        return Measured(taken, sum(map(len, prompts)), worst=worst, schedule=self.schedule)

    def _worst(self, out: Any, prompts: list[np.ndarray], score: Score) -> float:
        """Over the asked-for tokens, the pad id inside of a text included: it is a token."""
        tokens, logprobs = np.asarray(out.tokens), np.asarray(out.logprobs)
        asked = list(zip(prompts, tokens, logprobs, self.lengths, strict=True))
        scored = score([np.concatenate([p, t[:n]]).astype(np.int32) for p, t, _, n in asked])
        differences = [
            np.abs(theirs[:n] - ours[len(p) : len(p) + n]).max()
            for (p, _, theirs, n), ours in zip(asked, scored, strict=True)
        ]
        return float(max(differences))


class Transformers:
    """`generate` of transformers on the CPU, batches of 128 rollouts."""

    def __init__(self, folder: Path, config: ModelConfig, questions: list[str], lengths) -> None:
        import torch  # pyright: ignore
        from transformers import AutoModelForCausalLM

        self.torch, self.lengths = torch, lengths
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        copies = len(lengths) // len(questions)
        ids = [list(question.encode()) for question in questions for _ in range(copies)]
        self.ids = torch.tensor(ids)

    def measure(self, score: Score) -> Measured:
        return Measured(timed(self.run)[1], self.ids.numel())

    def run(self) -> None:
        new = int(max(self.lengths))
        with self.torch.inference_mode():
            for batch in self.ids.split(128):
                self.model.generate(
                    batch,
                    attention_mask=self.torch.ones_like(batch),
                    do_sample=True,
                    temperature=1.0,
                    top_k=0,
                    top_p=1.0,
                    max_new_tokens=new,
                    eos_token_id=None,
                    pad_token_id=PAD,
                )


MAKERS: dict[str, Callable[..., Any]] = {"tunix 0.1.7": Tunix, "transformers": Transformers}
