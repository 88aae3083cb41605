"""Adapter folders in PEFT's form: names, shapes and axes, and what is refused by name."""

import dataclasses
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from acim_jax.checkpoint import hf_config, hf_export, hf_import, model_folder, peft
from acim_jax.model import lora, scoring, transformer
from acim_jax.model.config import Experts, LoraConfig, ModelSource
from tests.support import golden, golden_folders, tiny_models
from tests.support.model_folders import CONFIG, write_model

SETTINGS = LoraConfig(rank=3, alpha=6.0)
PREFIX = "base_model.model.model.layers."
SIZES = {
    "self_attn.q_proj": (32, 32),
    "self_attn.k_proj": (32, 16),
    "self_attn.v_proj": (32, 16),
    "self_attn.o_proj": (32, 32),
    "mlp.gate_proj": (32, 48),
    "mlp.up_proj": (32, 48),
    "mlp.down_proj": (48, 32),
}


def make_adapters(settings: LoraConfig = SETTINGS) -> lora.Params:
    abstract = lora.abstract(settings, transformer.abstract_params(CONFIG))

    def leaf(path, x):
        draw = np.random.default_rng([*jax.tree_util.keystr(path).encode()])
        return draw.normal(0, 0.2, x.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(leaf, abstract)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture
def folder(base: Path, tmp_path: Path) -> Path:
    peft.save(
        tmp_path / "adapter",
        make_adapters(),
        SETTINGS,
        CONFIG,
        base=str(base),
        markup=tiny_models.CHATTY,
    )
    return tmp_path / "adapter"


def test_names_and_shapes_are_pefts(folder: Path, base: Path):
    tensors = safetensors.numpy.load_file(folder / "adapter_model.safetensors")
    expected = {}
    for layer in range(CONFIG.num_layers):
        for module, (inputs, outputs) in SIZES.items():
            expected[f"{PREFIX}{layer}.{module}.lora_A.weight"] = (3, inputs)
            expected[f"{PREFIX}{layer}.{module}.lora_B.weight"] = (outputs, 3)
    assert {name: tensor.shape for name, tensor in tensors.items()} == expected
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype("float32")}
    content = json.loads((folder / "adapter_config.json").read_text())
    assert (content["peft_type"], content["task_type"]) == ("LORA", "CAUSAL_LM")
    assert (content["r"], content["lora_alpha"]) == (3, 6.0)
    assert set(content["target_modules"]) == {name.split(".")[1] for name in SIZES}
    assert content["base_model_name_or_path"] == str(base)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["adapter"], "nothing is left"


def test_product_of_the_tensors_is_the_change_of_the_exported_weights(
    folder: Path, base: Path, tmp_path: Path
):
    """W' = W + (α/r)·B·A in Hugging Face's own axes, for every projection of a merged export."""
    model = model_folder.open_model(str(folder))
    hf_export.save(tmp_path / "merged", model_folder.load_params(model, None), model.config)
    before = safetensors.numpy.load_file(base / "model.safetensors")
    after = safetensors.numpy.load_file(tmp_path / "merged" / "model.safetensors")
    halves = safetensors.numpy.load_file(folder / "adapter_model.safetensors")
    changed = 0
    for name, weight in before.items():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        expected = weight.astype(np.float64)
        if f"{stem}.lora_A.weight" in halves:
            b, a = (halves[f"{stem}.lora_{x}.weight"].astype(np.float64) for x in "BA")
            expected = expected + 6.0 / 3 * b @ a
            assert np.abs(expected - weight).max() > 0.1
            changed += 1
        np.testing.assert_allclose(after[name], expected, rtol=0, atol=1e-6, err_msg=name)
    assert changed == CONFIG.num_layers * len(SIZES)


def test_an_adapter_that_peft_wrote(tmp_path: Path):
    """It is what our names and shapes say, and computes what PEFT and transformers computed with it
    (tests/support/make_golden_peft.py)."""
    source = golden.FOLDER.with_name("golden_peft")
    settings, where = peft.read(source)
    assert settings == LoraConfig(rank=3, alpha=7.0)
    folder = golden_folders.write(where, tmp_path / "base")
    config = hf_config.read_config(folder)
    adapters = peft.load(source, settings, config)
    frozen = lora.Frozen(hf_import.load(folder, config), jnp.float32(settings.scale))
    stored = golden.expected(where)
    ids = golden.token_ids(int(stored["seed"]), config.vocab_size)
    score = jax.jit(scoring.token_logprobs, static_argnums=1)
    found = np.asarray(score(lora.model_params(adapters, frozen), config, ids))[:, 1:]
    wanted = np.load(source / "logprobs.npz")["logprobs"]
    for row, n in enumerate(golden.LENGTHS - 1):
        np.testing.assert_allclose(found[row, :n], wanted[row, :n], rtol=0, atol=1e-4)
        assert np.abs(wanted[row, :n] - stored["logprobs"][row, :n]).max() > 0.1
    peft.save(tmp_path / "again", adapters, settings, config, base=where)
    ours, theirs = (
        safetensors.numpy.load_file(place / "adapter_model.safetensors")
        for place in (tmp_path / "again", source)
    )
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(ours[name], tensor, err_msg=name)


def test_comes_back_bit_for_bit(folder: Path, base: Path):
    assert peft.read(folder) == (SETTINGS, str(base))
    found = peft.load(folder, SETTINGS, CONFIG)
    wanted = make_adapters()
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_adapter_folder_is_a_model(folder: Path):
    """Its markup is its own; its log-probs are those of base and adapters side by side."""
    model = model_folder.open_model(str(folder))
    assert model.markup == tiny_models.CHATTY
    ids = np.arange(2, 22, dtype=np.int32).reshape(2, 10)
    score = jax.jit(scoring.token_logprobs, static_argnums=1)
    found = score(model_folder.load_params(model, None), CONFIG, ids)
    base = tiny_models.make_params(CONFIG)
    beside = lora.model_params(make_adapters(), lora.Frozen(base, jnp.float32(2.0)))
    np.testing.assert_allclose(found, score(beside, CONFIG, ids), rtol=0, atol=1e-5)
    assert np.abs(found - score(base, CONFIG, ids)).max() > 0.1


def test_a_bfloat16_model_is_sampled_with_its_adapters_beside_it(folder: Path):
    """Merged weights would be rounded to 8 bits; these give the bits of the trainer's log-probs."""
    source = ModelSource(str(folder), dtype="bfloat16", param_dtype="bfloat16")
    model = model_folder.open_model(source)
    ids = np.arange(2, 22, dtype=np.int32).reshape(2, 10)
    score = jax.jit(scoring.token_logprobs, static_argnums=1)
    base = jax.tree.map(lambda x: x.astype(jnp.bfloat16), tiny_models.make_params(CONFIG))
    beside = lora.model_params(make_adapters(), lora.Frozen(base, jnp.float32(2.0)))
    found = score(model_folder.load_for_sampling(model, None), model.config, ids)
    np.testing.assert_array_equal(found, score(beside, model.config, ids))
    merged = model_folder.load_params(model, None)
    assert "w_q_lora_a" not in merged["blocks"]["attention"]
    assert np.abs(found - score(merged, model.config, ids)).max() > 1e-4


def test_some_targets_and_other_dtypes(tmp_path: Path, base: Path):
    """Targets are read from the tensors; bfloat16 adapters become float32."""
    chosen = LoraConfig(rank=2, alpha=1.0, targets=("q", "down"))
    peft.save(tmp_path / "some", make_adapters(chosen), chosen, CONFIG, base=str(base))
    file = tmp_path / "some" / "adapter_model.safetensors"
    tensors = safetensors.numpy.load_file(file)
    assert len(tensors) == 2 * 2 * CONFIG.num_layers
    half = {name: np.asarray(jnp.asarray(x, jnp.bfloat16)) for name, x in tensors.items()}
    safetensors.numpy.save_file(half, file)
    settings, _ = peft.read(tmp_path / "some")
    assert settings == chosen
    found = peft.load(tmp_path / "some", settings, CONFIG)
    for one, other in zip(
        jax.tree.leaves(found), jax.tree.leaves(make_adapters(chosen)), strict=True
    ):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, rtol=2**-8)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("peft_type", "IA3"),
        ("use_dora", True),
        ("use_rslora", True),
        ("bias", "all"),
        ("modules_to_save", ["lm_head"]),
        ("rank_pattern", {"q_proj": 4}),
        ("base_model_name_or_path", None),
        ("r", "8"),
    ],
)
def test_settings_of_peft_that_are_not_computed_are_refused(folder: Path, field: str, value):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {field: value}))
    with pytest.raises(ValueError, match=rf"adapter_config\.json.*{field}"):
        model_folder.open_model(str(folder))


def test_a_base_that_is_not_there_is_named(folder: Path):
    file = folder / "adapter_config.json"
    content = json.loads(file.read_text()) | {"base_model_name_or_path": "./gone"}
    file.write_text(json.dumps(content))
    with pytest.raises(FileNotFoundError, match=r"adapter_config\.json: base_model.*gone"):
        model_folder.open_model(str(folder))


def test_bad_tensors_are_named(folder: Path, base: Path):
    file = folder / "adapter_model.safetensors"
    good = safetensors.numpy.load_file(file)
    name = f"{PREFIX}1.mlp.up_proj.lora_B.weight"
    nan = good[name].copy()
    nan[3, 1] = np.nan
    third_layer = f"{PREFIX}2.mlp.up_proj.lora_B.weight"
    embedding = "base_model.model.model.embed_tokens.lora_A.weight"
    for tensors, said in (
        ({key: value for key, value in good.items() if key != name}, f"no tensor {name}"),
        (good | {name: good[name][:, :2].copy()}, f"{name} has shape (48, 2)"),
        (good | {name: nan}, f"{name} holds NaN"),
        (good | {third_layer: good[name]}, f"{third_layer} has no place"),
        (good | {embedding: nan}, "adapters of embed_tokens are not supported"),
    ):
        safetensors.numpy.save_file(tensors, file)
        with pytest.raises(ValueError, match=re.escape(said)):
            peft.load(folder, peft.read(folder).settings, CONFIG)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"adapter_model\.safetensors is truncated"):
        peft.read(folder)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"adapter_model\.safetensors is missing"):
        peft.read(folder)


def test_experts_are_refused(folder: Path):
    experts = Experts(count=4, per_token=2, width=16, normalize=True)
    model = dataclasses.replace(
        CONFIG, experts=experts, qkv_bias=False, qk_norm=True, family="qwen3_moe"
    )
    with pytest.raises(ValueError, match="gate, up, down are experts in this model"):
        peft.load(folder, SETTINGS, model)


def test_only_an_earlier_adapter_is_replaced(folder: Path, base: Path, tmp_path: Path):
    again = LoraConfig(rank=1, targets=("v",))
    peft.save(folder, make_adapters(again), again, CONFIG, base=str(base))
    assert peft.read(folder).settings == again
    assert not (folder / "acim.yaml").exists()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    for target in (foreign, foreign / "thesis.txt", base):
        with pytest.raises(ValueError, match=r"name another folder|is a file"):
            peft.save(target, make_adapters(again), again, CONFIG, base=str(base))
    assert (foreign / "thesis.txt").read_text() == "years of work"
