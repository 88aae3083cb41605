"""`acim export`: the bits of a run's checkpoint in a folder that is whole, and never another's."""

from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy
import yaml

from acim_jax.checkpoint import acim_yaml, hf_config, store
from acim_jax.cli import main
from tests.support import tiny_models
from tests.support.model_folders import CONFIG, write_model


def tensors(folder: Path) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(folder / "model.safetensors")


def assert_same_bits(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.fixture
def run_folder(model: Path, tmp_path: Path) -> Path:
    """A run whose checkpoints 2 and 10 hold the random weights of those seeds."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(yaml.safe_dump({"model": {"path": str(model)}}))
    for step in (2, 10):
        state = {"params": tiny_models.make_params(CONFIG, step), "step": jax.numpy.int32(step)}
        store.save(run / "checkpoints", step, state, {})
    return run


@pytest.mark.parametrize(("options", "seed"), [([], 10), (["--step", "2"], 2)])
def test_a_runs_checkpoint_is_exported_with_tokenizer_and_markup(
    run_folder: Path, model: Path, tmp_path: Path, options: list[str], seed: int
) -> None:
    out = tmp_path / "out"
    assert main.main(["export", str(run_folder), "--out", str(out), *options]) == 0
    assert_same_bits(tensors(out), tensors(write_model(tmp_path / "wanted", seed=seed)))
    assert acim_yaml.read_markup(out) == tiny_models.CHATTY
    assert hf_config.read_config(out) == CONFIG
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (out / name).read_bytes() == (model / name).read_bytes()


def test_dtype_rounds_the_tensors_to_nearest(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main.main(["export", str(model), "--out", str(out), "--dtype", "float16"]) == 0
    wanted = {name: value.astype(np.float16) for name, value in tensors(model).items()}
    assert_same_bits(tensors(out), wanted)


def test_only_an_earlier_export_is_replaced(
    model: Path, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main.main(["export", str(run_folder), "--out", str(out)]) == 0
    assert main.main(["export", str(model), "--out", str(out)]) == 0
    assert_same_bits(tensors(out), tensors(model))
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    before = tensors(model)
    for target in (foreign, foreign / "thesis.txt", model, run_folder):
        capsys.readouterr()
        assert main.main(["export", str(model), "--out", str(target)]) == 2
        assert str(target) in capsys.readouterr().err
    assert (foreign / "thesis.txt").read_text() == "years of work"
    assert_same_bits(tensors(model), before)


@pytest.mark.parametrize(
    ("chosen", "options", "said"),
    [
        ("run", ["--step", "3"], "[2, 10]"),
        ("model", ["--step", "2"], "no run folder"),
        ("nothing", [], "nothing"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    run_folder: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    chosen: str,
    options: list[str],
    said: str,
) -> None:
    source = {"run": run_folder, "model": model, "nothing": tmp_path / "nothing"}[chosen]
    out = tmp_path / "out"
    assert main.main(["export", str(source), "--out", str(out), *options]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_weights_of_a_run_that_diverged_are_refused(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = tiny_models.make_params(CONFIG, 0)
    gate = params["blocks"]["mlp"]["w_gate"]
    params["blocks"]["mlp"]["w_gate"] = gate.at[1, 3, 5].set(jax.numpy.nan)
    state = {"params": params, "step": jax.numpy.int32(11)}
    store.save(run_folder / "checkpoints", 11, state, {})
    out = tmp_path / "out"
    assert main.main(["export", str(run_folder), "--out", str(out)]) == 2
    assert "model.layers.1.mlp.gate_proj.weight holds NaN" in capsys.readouterr().err
    assert not list(tmp_path.glob("*out*"))
    assert main.main(["export", str(run_folder), "--step", "10", "--out", str(out)]) == 0
