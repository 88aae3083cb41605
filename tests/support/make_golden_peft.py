"""Makes tests/golden_peft: an adapter as the PEFT library writes it, and what its model computes.

Needs torch, which this package does not. In an environment of its own, from the repository's root:

    pip install torch transformers peft && python -m tests.support.make_golden_peft

and commit what it writes (20 KB). The base is the golden model BASE of `make_golden.py`.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import peft  # pyright: ignore[reportMissingImports]
import torch  # pyright: ignore[reportMissingImports]

from tests.support import golden, make_golden

BASE = "llama_default"
FOLDER = golden.FOLDER.with_name("golden_peft")
MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def main() -> None:
    stored = golden.expected(BASE)
    seed = int(stored["seed"])
    model_type, fields = make_golden.all_cases()[BASE]
    with tempfile.TemporaryDirectory() as scratch:
        _, base = make_golden.build(model_type, fields, seed, Path(scratch), torch.float32)
        torch.manual_seed(0)
        model = peft.get_peft_model(
            base,
            peft.LoraConfig(
                r=3,
                lora_alpha=7,
                target_modules=list(MODULES),
                task_type="CAUSAL_LM",
                init_lora_weights=False,
            ),
        ).eval()
        with torch.no_grad():
            ids = torch.from_numpy(golden.token_ids(seed, base.config.vocab_size)).long()
            logprobs = torch.log_softmax(make_golden.run(model, ids)[:, :-1].double(), dim=-1)
        model.save_pretrained(FOLDER)
    (FOLDER / "README.md").unlink(missing_ok=True)
    (FOLDER / "adapter_model.safetensors").chmod(0o644)
    config = FOLDER / "adapter_config.json"
    content = json.loads(config.read_text()) | {"base_model_name_or_path": BASE}
    config.write_text(json.dumps(content, indent=2) + "\n")
    chosen = torch.gather(logprobs, 2, ids[:, 1:, None])[..., 0].float().numpy()
    np.savez_compressed(FOLDER / "logprobs.npz", logprobs=chosen)


if __name__ == "__main__":
    main()
