"""Exported folders: whole or absent, replaced only when asked, with the tokenizer's files."""

import dataclasses
import errno
import json
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_jax.bad_input import BadInput
from acim_jax.checkpoint import acim_yaml, hf_config, hf_export, hf_import, safetensors_file
from acim_jax.markup import Markup
from acim_jax.model import transformer
from acim_jax.model.config import Dtype
from tests.support.hf_folders import (
    UNTIED,
    assert_same_bytes,
    edited,
    raw_tensors,
    small_config,
    write_random,
)


def test_a_failed_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = hf_config.read_config(UNTIED)
    params = hf_import.load(UNTIED, config)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):

        def fail(*args: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(safetensors_file, "write", fail)
        hf_export.save(tmp_path / "out", params, config)
    assert list(tmp_path.iterdir()) == []
    truncated = params | {"final_norm": {"scale": np.ones(23, np.float32)}}
    with pytest.raises(BadInput, match=r"final_norm/scale has shape \(23,\).*has \(24,\)"):
        hf_export.save(tmp_path / "out", truncated, config)
    with pytest.raises(BadInput, match="always has qkv_bias: True"):
        plain = dataclasses.replace(config, qkv_bias=False)
        abstract = transformer.abstract_params(plain)
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract)
        hf_export.save(tmp_path / "out", zeros, plain)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (np.nan, None, r"tensor model\.layers\.1\.self_attn\.v_proj\.bias holds NaN"),
        (-np.inf, None, r"tensor model\.layers\.1\.self_attn\.v_proj\.bias holds NaN or inf"),
        (7e4, "float16", r"v_proj\.bias holds values beyond the range of float16; keep float32"),
    ],
)
def test_weights_that_are_not_finite_are_not_written(
    tmp_path: Path, value: float, dtype: Dtype | None, message: str
):
    config = hf_config.read_config(UNTIED)
    params = hf_import.load(UNTIED, config)
    attention = params["blocks"]["attention"]
    attention["b_v"] = jnp.asarray(attention["b_v"]).at[1, 0, 3].set(value)
    with pytest.raises(BadInput, match=message):
        hf_export.save(tmp_path / "out", params, config, dtype=dtype)
    assert list(tmp_path.iterdir()) == []


def test_what_is_overwritten(tmp_path: Path):
    config = hf_config.read_config(UNTIED)
    params = hf_import.load(UNTIED, config)
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="is not empty"):
        hf_export.save(out, params, config)
    with pytest.raises(ValueError, match="not a model folder"):
        hf_export.save(out, params, config, overwrite=True)
    (out / "thesis.tex").unlink()
    hf_export.save(out, params, config)
    with pytest.raises(ValueError, match="is not empty"):
        hf_export.save(out, params, config)
    scaled = jax.tree.map(lambda x: 2 * x, params)
    hf_export.save(out, scaled, config, overwrite=True)
    np.testing.assert_array_equal(
        raw_tensors(out)["model.norm.weight"], 2 * raw_tensors(UNTIED)["model.norm.weight"]
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_tokenizer_templates_and_generation_settings_are_copied_byte_for_byte(tmp_path: Path):
    source = edited(tmp_path, eos_token_id=7, pad_token_id=None)
    draw = np.random.default_rng(0)
    names = (
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "merges.txt",
        "tokenizer.model",
        "chat_template.jinja",
        "generation_config.json",
        "additional_chat_templates/rag.jinja",
    )
    (source / "additional_chat_templates").mkdir()
    for name in names:
        (source / name).write_bytes(draw.bytes(64))
    (source / "optimizer.pt").write_bytes(b"no part of a model")
    config = hf_config.read_config(source)
    hf_export.save(
        tmp_path / "out", hf_import.load(source, config), config, tokenizer_files_from=source
    )
    out = tmp_path / "out"
    for name in names:
        assert (out / name).read_bytes() == (source / name).read_bytes()
    written = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert written == {*names, "config.json", "model.safetensors"}
    assert json.loads((out / "config.json").read_text())["eos_token_id"] == 7


@pytest.mark.parametrize("ids", ["1", [1, "2"], True, {"id": 1}])
def test_special_ids_of_the_wrong_type_are_refused(tmp_path: Path, ids: object):
    source = edited(tmp_path, eos_token_id=ids)
    config = hf_config.read_config(source)
    params = hf_import.load(source, config)
    with pytest.raises(BadInput, match=r"config\.json: eos_token_id must be a token's id"):
        hf_export.save(tmp_path / "out", params, config, tokenizer_files_from=source)
    assert not (tmp_path / "out").exists()


def test_markup_and_special_ids_of_the_tokenizer(tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    added = [{"id": 1, "content": "<|end|>"}, {"id": 0, "content": "<|pad|>"}]
    (source / "tokenizer.json").write_text(json.dumps({"added_tokens": added}))
    settings = {"eos_token": {"content": "<|end|>"}, "pad_token": "<|pad|>", "bos_token": None}
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    config = hf_config.read_config(UNTIED)
    markup = Markup(template="<|user|>{problem}\n", max_turns=3, stop=("<|end|>",))
    out = tmp_path / "out"
    params = hf_import.load(UNTIED, config)
    hf_export.save(out, params, config, tokenizer_files_from=source, markup=markup)
    for name in ("config.json", "generation_config.json"):
        content = json.loads((out / name).read_text())
        assert (content["eos_token_id"], content["pad_token_id"]) == (1, 0)
    assert acim_yaml.read_markup(out) == markup
    (source / "tokenizer_config.json").unlink()
    hf_export.save(tmp_path / "unstated", params, config, tokenizer_files_from=source)
    assert "eos_token_id" not in json.loads((tmp_path / "unstated" / "config.json").read_text())


#: Reads a folder and writes it to another in shards, twice; killed when it is about to write the
#: file of a name for the n-th time.
EXPORT = """
import os, signal, sys
from pathlib import Path
from acim_jax.checkpoint import hf_config, hf_export, hf_import
source, out = map(Path, sys.argv[1:3])
name, times = sys.argv[3], int(sys.argv[4])
def audit(event, arguments):
    global times
    if event == "open" and str(arguments[0]).endswith(name) and ".partial-" in str(arguments[0]):
        times -= 1
        if not times:
            os.kill(os.getpid(), signal.SIGKILL)
config = hf_config.read_config(source)
params = hf_import.load(source, config)
sys.addaudithook(audit)
for _ in range(2):
    hf_export.save(out, params, config, max_shard_bytes=1, overwrite=True)
"""


@pytest.mark.parametrize(
    ("file", "times"), [("generation_config.json", 1), ("model-00030-of-00050.safetensors", 3)]
)
def test_a_killed_export_leaves_the_old_folder_or_none(tmp_path: Path, file: str, times: int):
    """A shard is opened to be written and again to be flushed: the third time is the second
    export's, over the folder of the first."""
    config = small_config("qwen2", "bfloat16")
    tensors = write_random(tmp_path / "source", config, "bfloat16")
    out = tmp_path / "out"
    arguments = [sys.executable, "-c", EXPORT, str(tmp_path / "source"), str(out), file, str(times)]
    assert subprocess.run(arguments, timeout=120).returncode == -signal.SIGKILL
    (left,) = tmp_path.glob(".out.partial-*")
    assert len(list(left.glob("model/*"))) > 25
    assert out.exists() == (times > 1)
    if out.exists():
        assert_same_bytes(raw_tensors(out), tensors)
        assert hf_config.read_config(out) == config
    hf_export.save(out, hf_import.load(tmp_path / "source", config), config, overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"source", "out"}
    assert_same_bytes(raw_tensors(out), tensors)
