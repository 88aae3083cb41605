"""Makes tests/golden: tiny random Qwen2 models by transformers, and what they compute.

Needs torch, which this package does not: run it in an environment of its own,

    pip install torch transformers numpy && python scripts/make_golden.py

and commit what it writes (under 300 KB). Widths are chosen to be unlike one another, and no head
width divides the model's; all parameters are random, biases and norms too.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from transformers import Qwen2Config, Qwen2ForCausalLM

LENGTHS = (9, 6)
NEW_TOKENS = 32
#: Greedy choices nearer than this could flip between two correct float32 programs.
LEAST_MARGIN = 1e-3


def build(tied: bool, seed: int) -> Qwen2ForCausalLM:
    """A random model in float32 whose logits are far from uniform."""
    config = Qwen2Config(
        vocab_size=160,
        hidden_size=24,
        intermediate_size=36,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=10,  # pyright: ignore[reportCallIssue]
        max_position_embeddings=128,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
        tie_word_embeddings=tied,
        attn_implementation="eager",  # pyright: ignore[reportCallIssue]
    )
    model = Qwen2ForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.3 * noise if "norm" in name else 0.3 * noise)
    return model


def expected(model: Qwen2ForCausalLM, seed: int) -> dict[str, np.ndarray]:
    """Outputs for two rows of different length, right-padded with 0."""
    token_ids = torch.zeros((2, max(LENGTHS)), dtype=torch.long)
    mask = torch.zeros_like(token_ids)
    generator = torch.Generator().manual_seed(seed)
    for row, length in enumerate(LENGTHS):
        token_ids[row, :length] = torch.randint(0, 160, (length,), generator=generator)
        mask[row, :length] = 1
    seen: dict[str, np.ndarray] = {}
    hooks = []
    for layer, block in enumerate(model.model.layers):
        parts = {
            "attention_norm": block.input_layernorm,
            "attention": block.self_attn,
            "mlp_norm": block.post_attention_layernorm,
            "mlp": block.mlp,
            "block": block,
        }
        for name, module in parts.items():
            hooks.append(module.register_forward_hook(_keep(seen, f"{name}_{layer}")))
    hooks.append(model.model.embed_tokens.register_forward_hook(_keep(seen, "embedded")))
    hooks.append(model.model.norm.register_forward_hook(_keep(seen, "final")))
    with torch.no_grad():
        logits = model(input_ids=token_ids, attention_mask=mask).logits
    for hook in hooks:
        hook.remove()
    logprobs = torch.log_softmax(logits[:, :-1].double(), dim=-1)
    chosen = torch.gather(logprobs, 2, token_ids[:, 1:, None])[..., 0]
    return seen | {
        "token_ids": token_ids.int().numpy(),
        "lengths": np.array(LENGTHS, np.int32),
        "logits": logits.numpy(),
        "logprobs": chosen.float().numpy(),
        "greedy": np.stack([greedy(model, token_ids[r, :n]) for r, n in enumerate(LENGTHS)]),
    }


def _keep(seen: dict[str, np.ndarray], name: str):
    def hook(module, inputs, output):
        value = output[0] if isinstance(output, tuple) else output
        seen[name] = value.detach().numpy().copy()

    return hook


def greedy(model: Qwen2ForCausalLM, prompt: torch.Tensor) -> np.ndarray:
    """The most probable continuation, token by token, without a cache."""
    ids = prompt[None]
    with torch.no_grad():
        for _ in range(NEW_TOKENS):
            best = model(input_ids=ids).logits[0, -1].topk(2)
            margin = float(best.values[0] - best.values[1])
            if margin < LEAST_MARGIN:
                raise SystemExit(f"Two tokens are {margin} apart: choose another seed.")
            ids = torch.cat([ids, best.indices[None, :1]], dim=1)
    return ids[0, len(prompt) :].int().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "tests" / "golden")
    out = parser.parse_args().out
    for name, tied, dtype in (
        ("qwen2_untied", False, torch.float32),
        ("qwen2_tied_bfloat16", True, torch.bfloat16),
    ):
        build(tied, seed=1).to(dtype).save_pretrained(out / name)
        # Read again, so that the expected numbers are float32 ones of the weights as rounded.
        model = Qwen2ForCausalLM.from_pretrained(
            out / name, dtype=torch.float32, attn_implementation="eager"
        )
        arrays: dict[str, Any] = expected(model.eval(), seed=2)
        np.savez_compressed(out / name / "expected.npz", **arrays)


if __name__ == "__main__":
    main()
