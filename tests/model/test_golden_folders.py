"""Golden models as folders: read, written again, scored by the command, loaded by transformers."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from acim_jax.checkpoint import hf_config, hf_export, hf_import, model_names
from acim_jax.cli import main
from tests.support import golden, golden_folders
from tests.support.model_folders import read_rows, write_rows

#: Every family, and every kind of RoPE and of window.
CASES = (
    "llama_llama3",
    "llama_linear",
    "mistral_yarn",
    "qwen2_sliding",
    "qwen3_dynamic",
    "qwen3_moe_sliding",
)


def smaller_tokenizer(folder: Path, size: int) -> Path:
    """The embedded tokenizer with its first `size` tokens and the merges that make them."""
    shutil.copytree(model_names.EMBEDDED["tiny"], folder)
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    model = content["model"]
    model["vocab"] = {token: i for token, i in model["vocab"].items() if i < size}
    model["merges"] = [pair for pair in model["merges"] if "".join(pair) in model["vocab"]]
    path.write_text(json.dumps(content))
    return folder


def exported(case: str, tmp_path: Path) -> Path:
    """The golden model, imported and exported, with the embedded tokenizer cut to its size."""
    source = golden_folders.write(case, tmp_path / "source")
    config = hf_config.read_config(source)
    tokenizer = smaller_tokenizer(tmp_path / "tokenizer", config.vocab_size)
    hf_export.save(
        tmp_path / "out", hf_import.load(source, config), config, tokenizer_files_from=tokenizer
    )
    return tmp_path / "out"


@pytest.mark.parametrize("case", golden.cases())
def test_a_folder_written_again_is_the_same_model(case: str, tmp_path: Path):
    """Every tensor has the same bits, and every field that says what is computed its value."""
    out = exported(case, tmp_path)
    ours, theirs = (
        safetensors.numpy.load_file(folder / "model.safetensors")
        for folder in (out, tmp_path / "source")
    )
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert (ours[name].dtype, ours[name].shape) == (tensor.dtype, tensor.shape)
        assert ours[name].tobytes() == tensor.tobytes(), name
    assert hf_config.read_config(out) == hf_config.read_config(tmp_path / "source")


@pytest.mark.parametrize("case", CASES)
def test_the_command_scores_as_transformers_does(case: str, tmp_path: Path):
    out = exported(case, tmp_path)
    stored = golden.expected(case)
    token_ids = golden.token_ids(int(stored["seed"]), hf_config.read_config(out).vocab_size)
    rows = [
        {"id": row, "token_ids": token_ids[row, :length].tolist()}
        for row, length in enumerate(golden.LENGTHS)
    ]
    source, target = write_rows(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    done = main.main(["score", "--model", str(out), "--input", str(source),
                      "--output", str(target)])  # fmt: skip
    assert done == 0
    for scored, theirs, length in zip(
        read_rows(target), stored["logprobs"], golden.LENGTHS, strict=True
    ):
        assert len(scored["logprobs"]) == length
        np.testing.assert_allclose(scored["logprobs"][1:], theirs[: length - 1], rtol=0, atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_transformers_loads_what_is_written(case: str, tmp_path: Path):
    """The logits of the exported folder, in transformers, are those of the original."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    out = exported(case, tmp_path)
    stored = golden.expected(case)
    model, report = AutoModelForCausalLM.from_pretrained(
        out,
        dtype=torch.float32,
        attn_implementation="eager",
        experts_implementation="eager",
        output_loading_info=True,
    )
    assert not any(report.values())
    token_ids = golden.token_ids(int(stored["seed"]), model.config.vocab_size)
    # Up to where dynamic RoPE is plain; elsewhere all that is stored of the shorter row.
    length = 20 if "dynamic" in case else int(golden.LENGTHS.min())
    columns = golden.LOGIT_COLUMNS[length > golden.LOGIT_COLUMNS]
    with torch.no_grad():
        logits = model(input_ids=torch.from_numpy(token_ids[:, :length]).long()).logits.numpy()
    np.testing.assert_allclose(
        logits[:, columns, :: golden.LOGIT_STRIDE],
        stored["logits"][:, : len(columns)],
        rtol=0,
        atol=1e-5,
    )
