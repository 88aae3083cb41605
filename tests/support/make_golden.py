"""Makes tests/golden: tiny random models of every family by transformers, and what they compute.

Needs torch, which this package does not. In an environment of its own, from the repository's root:

    pip install torch transformers safetensors numpy && python -m tests.support.make_golden

and commit what it writes (under 1 MB). Widths are chosen to be unlike one another, no head width
divides the model's, rows are longer than windows and than the positions RoPE was scaled from, and
all parameters are random, biases and norms too. Weights are not stored but for two whole folders:
they are drawn by name (`tests/support/golden.py`).
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch  # pyright: ignore[reportMissingImports]
import torch  # pyright: ignore[reportMissingImports]
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, PreTrainedModel

from tests.support import golden

#: Greedy choices nearer than this could flip between two correct float32 computations.
LEAST_MARGIN = 1e-3

SIZES: dict[str, Any] = {
    "vocab_size": 608,
    "hidden_size": 24,
    "intermediate_size": 36,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
}
EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 14}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 9},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {},
    "qwen3_moe": EXPERTS | {"norm_topk_prob": True},
}
ROPES: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 4.0},
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 40,
    },
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 16},
}
YARN = {"factor": 4.0, "original_max_position_embeddings": 40, "beta_fast": 8.0, "beta_slow": 0.5}
MSCALES = {"mscale": 0.7, "mscale_all_dim": 0.5, "truncate": False}
SLIDING = {"use_sliding_window": True, "sliding_window": 9}
#: The two that are stored with their weights, for tests of files.
FOLDERS = {"qwen2_untied": torch.float32, "qwen2_tied_bfloat16": torch.bfloat16}


def all_cases() -> dict[str, tuple[str, dict[str, Any]]]:
    """Name -> model_type and fields of the config."""
    cases = {
        f"{family}_{kind}": (family, with_rope(kind, fields) | own)
        for family, own in FAMILIES.items()
        for kind, fields in ROPES.items()
    }
    cases |= {
        "llama_yarn_mscale": ("llama", with_rope("yarn", YARN | MSCALES)),
        "qwen2_yarn_factor": ("qwen2", with_rope("yarn", YARN | {"attention_factor": 1.3})),
        "qwen2_sliding": (
            "qwen2",
            with_rope("default", {})
            | SLIDING
            | {"num_hidden_layers": 3, "max_window_layers": 1, "layer_types": None},
        ),
        "qwen3_moe_sliding": (
            "qwen3_moe",
            with_rope("default", {}) | SLIDING | EXPERTS | {"num_experts_per_tok": 3},
        ),
    }
    small = with_rope("default", {}) | {"vocab_size": 160, "num_hidden_layers": 3}
    for name in FOLDERS:
        cases[name] = ("qwen2", small | {"tie_word_embeddings": "untied" not in name})
    return cases


def with_rope(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    """SIZES with this RoPE; dynamic RoPE grows from the config's own number of positions."""
    rope = {"rope_parameters": {"rope_type": kind, "rope_theta": 500.0, **fields}}
    return SIZES | rope | ({"max_position_embeddings": 20} if kind == "dynamic" else {})


def build(model_type: str, fields: dict[str, Any], seed: int, folder: Path, dtype: torch.dtype):
    """Writes the model into `folder` as transformers does, weights drawn by their names there.

    Returns the tensors' shapes by name, and the model as transformers reads it again, in float32.
    """
    config = AutoConfig.for_model(model_type, **fields)
    AutoModelForCausalLM.from_config(config).to(dtype).save_pretrained(folder)
    file = folder / "model.safetensors"
    shapes = {n: list(t.shape) for n, t in safetensors.torch.load_file(file).items()}
    drawn = {n: torch.from_numpy(golden.draw(f"{seed} {n}", tuple(s))) for n, s in shapes.items()}
    safetensors.torch.save_file(
        {name: tensor.to(dtype) for name, tensor in drawn.items()}, file, metadata={"format": "pt"}
    )
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager"
    )
    return shapes, model.eval()


class Modules:
    """Feeds drawn inputs to the modules of a running model and keeps what they make of them.

    at: the rows and columns of the call in progress.
    """

    def __init__(self, model: PreTrainedModel):
        self.seen: dict[str, np.ndarray] = {}
        self.at = (slice(None), slice(None))
        self.hooks: list[Any] = []
        base = model.model
        for layer in (0, len(base.layers) - 1):
            block = base.layers[layer]
            self._watch(f"attention_norm_{layer}", block.input_layernorm, model)
            self._watch(f"attention_{layer}", block.self_attn, model)
            self._watch(f"mlp_{layer}", block.mlp, model)
        self.hooks.append(base.rotary_emb.register_forward_hook(self._keep_angles))

    def _watch(self, name: str, module: torch.nn.Module, model: PreTrainedModel) -> None:
        shape = (golden.ROWS, golden.COLUMNS, model.config.hidden_size)
        drawn = torch.from_numpy(golden.draw(f"input {name}", shape))

        def before(module, args, kwargs):
            if "hidden_states" in kwargs:
                return args, kwargs | {"hidden_states": drawn[self.at]}
            return (drawn[self.at], *args[1:]), kwargs

        def after(module, args, output):
            value = output[0] if isinstance(output, tuple) else output
            self._put(name, value.reshape(drawn[self.at].shape).numpy())

        self.hooks.append(module.register_forward_pre_hook(before, with_kwargs=True))
        self.hooks.append(module.register_forward_hook(after))

    def _keep_angles(self, module, args, output) -> None:
        for name, value in zip(("cos", "sin"), output, strict=True):
            self._put(name, value[..., : value.shape[-1] // 2].numpy())

    def _put(self, name: str, value: np.ndarray) -> None:
        shape = (golden.ROWS, golden.COLUMNS, value.shape[-1])
        self.seen.setdefault(name, np.zeros(shape, np.float32))[self.at] = value


def run(
    model: PreTrainedModel, token_ids: torch.Tensor, modules: Modules | None = None
) -> torch.Tensor:
    """Logits [B, T, V] of the rows, side by side and right-padded.

    Dynamic RoPE depends on the longest row of a call: there, each row alone and token by token
    with a cache, which is how transformers generates.
    """
    if model.config.rope_parameters["rope_type"] != "dynamic":
        mask = torch.arange(golden.COLUMNS) < torch.from_numpy(golden.LENGTHS)[:, None]
        return model(input_ids=token_ids, attention_mask=mask.long()).logits
    logits = torch.zeros(*token_ids.shape, model.config.vocab_size)
    for row, length in enumerate(golden.LENGTHS):
        cache = DynamicCache(config=model.config)
        for column in range(length):
            at = (slice(row, row + 1), slice(column, column + 1))
            if modules is not None:
                modules.at = at
            step = model(input_ids=token_ids[at], past_key_values=cache, use_cache=True)
            logits[at] = step.logits
    return logits


def greedy(model: PreTrainedModel, prompt: torch.Tensor) -> np.ndarray | None:
    """The most probable continuation with a cache; None where two tokens are too near."""
    ids, made = prompt[None], []
    cache = DynamicCache(config=model.config)
    for _ in range(golden.NEW_TOKENS):
        logits = model(input_ids=ids, past_key_values=cache, use_cache=True).logits
        best = logits[0, -1].topk(2)
        if float(best.values[0] - best.values[1]) < LEAST_MARGIN:
            return None
        ids = best.indices[None, :1]
        made.append(int(ids))
    return np.array(made, np.int32)


def compute(model: PreTrainedModel, seed: int) -> dict[str, np.ndarray] | None:
    """The stored outputs; None where a greedy choice is too close."""
    token_ids = torch.from_numpy(golden.token_ids(seed, model.config.vocab_size)).long()
    prompts = [row[:length] for row, length in zip(token_ids, golden.PROMPTS, strict=True)]
    continuations = [greedy(model, prompt) for prompt in prompts]
    if any(made is None for made in continuations):
        return None
    logits = run(model, token_ids)
    logprobs = torch.log_softmax(logits[:, :-1].double(), dim=-1)
    chosen = torch.gather(logprobs, 2, token_ids[:, 1:, None])[..., 0]
    modules = Modules(model)
    run(model, token_ids, modules)
    for hook in modules.hooks:
        hook.remove()
    seen = {name: value[:, golden.MODULE_COLUMNS] for name, value in modules.seen.items()}
    return seen | {
        "logits": logits[:, golden.LOGIT_COLUMNS, :: golden.LOGIT_STRIDE].numpy(),
        "logprobs": chosen.float().numpy(),
        "greedy": np.stack([made for made in continuations if made is not None]),
    }


def make(name: str, model_type: str, fields: dict[str, Any], out: Path) -> None:
    """One case, with the first seed whose greedy choices are all clear."""
    for seed in range(1, 100):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            dtype = FOLDERS.get(name, torch.float32)
            shapes, model = build(model_type, fields, seed, folder, dtype)
            arrays = compute(model, seed)
            if arrays is None:
                continue
            shutil.rmtree(out / name, ignore_errors=True)
            (out / name).mkdir(parents=True)
            stored = ["config.json", "generation_config.json", "model.safetensors"]
            for file in stored if name in FOLDERS else stored[:1]:
                shutil.copyfile(folder / file, out / name / file)
            meta: dict[str, Any] = {"seed": np.array(seed), "shapes": np.array(json.dumps(shapes))}
            np.savez_compressed(out / name / "expected.npz", **arrays, **meta)
            print(f"{name}: seed {seed}, {sum(f.stat().st_size for f in (out / name).iterdir())} B")
            return
    raise SystemExit(f"{name}: no seed has clear greedy choices.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=golden.FOLDER)
    parser.add_argument("--only", nargs="*", metavar="CASE", help="these cases alone")
    options = parser.parse_args()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, (model_type, fields) in all_cases().items():
            if not options.only or name in options.only:
                make(name, model_type, fields, options.out)


if __name__ == "__main__":
    main()
