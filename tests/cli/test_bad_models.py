"""Broken model folders: every command that reads weights says what is wrong and exits with 2."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from acim_jax.cli import main
from tests.support import hf_folders
from tests.support.model_folders import write_rows

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
NORM = "model.layers.1.post_attention_layernorm.weight"


def truncated(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def missing_shard(folder: Path) -> None:
    hf_folders.sharded(folder, 3)[1].unlink()


def absent_tensor(folder: Path) -> None:
    hf_folders.sharded(folder, 2)
    content = json.loads((folder / INDEX).read_text())
    content["weight_map"]["ghost"] = "model-00001-of-00002.safetensors"
    (folder / INDEX).write_text(json.dumps(content))


def duplicate(folder: Path) -> None:
    first, second = hf_folders.sharded(folder, 2)
    both = safetensors.numpy.load_file(first) | safetensors.numpy.load_file(second)
    safetensors.numpy.save_file(both, second)


def changed(make: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        tensors = safetensors.numpy.load_file(folder / WEIGHTS)
        tensors[NORM] = make(tensors[NORM])
        safetensors.numpy.save_file(tensors, folder / WEIGHTS)

    return change


def put(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array[-1] = value
        return array

    return change


def no_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def other_family(folder: Path) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {"model_type": "mamba"}))


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def other_end_token(folder: Path) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": "1"}))


def a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("not a folder")


DAMAGES: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "truncated": (truncated, (WEIGHTS, "truncated")),
    "missing shard": (missing_shard, ("model-00002-of-00003.safetensors", "missing", INDEX)),
    "absent tensor": (absent_tensor, ("ghost", "model-00001-of-00002.safetensors", INDEX)),
    "duplicate": (duplicate, ("Tensor model.", "model-00001-of", "again", "model-00002-of")),
    "shape": (changed(lambda array: array[1:]), (NORM, "(31,)", "(32,)")),
    "dtype": (changed(lambda array: array.astype(np.int8)), (NORM, "I8", "F32, BF16, F16")),
    "mixed": (changed(lambda array: array.astype(ml_dtypes.bfloat16)), (NORM, "bfloat16")),
    "nan": (changed(put(np.nan)), (NORM, WEIGHTS, "NaN")),
    "inf": (changed(put(-np.inf)), (NORM, WEIGHTS, "infinite")),
    "tokenizer": (no_tokenizer, ("no tokenizer", "tokenizer.json")),
    "family": (other_family, ("config.json", "'mamba'", "qwen2")),
    "pickled": (pickled, ("pytorch_model.bin", "never read", "save_pretrained")),
    "end token": (other_end_token, ("generation_config.json", "eos_token_id", "'1'")),
    "no folder": (a_file, ("No model at",)),
}


@pytest.fixture
def damaged(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "damaged"))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    return write_rows(path, [{"id": "a", "token_ids": [5, 6, 7]}])


@pytest.mark.parametrize("damage", DAMAGES)
def test_score_and_export_name_what_is_wrong(
    damage: str, damaged: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    make, said = DAMAGES[damage]
    make(damaged)
    out = tmp_path / "out"
    score = ["score", "--model", str(damaged), "--input", str(texts), "--output", str(out)]
    for command in (score, ["export", str(damaged), "--out", str(out)]):
        capsys.readouterr()
        assert main.main(command) == 2
        message = capsys.readouterr().err
        assert all(part in message for part in (*said, "damaged")), message
        assert "Traceback" not in message
        assert not out.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"damaged"}


def test_evaluate_names_the_tensor_before_it_starts(
    damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    changed(put(np.nan))(damaged)
    problems = write_rows(tmp_path / "p.jsonl", [{"id": "a", "problem": "1+1?", "answer": "2"}])
    out = tmp_path / "out"
    command = ["evaluate", "--model", str(damaged), "--data", str(problems), "--out", str(out)]
    assert main.main(command) == 2
    assert NORM in capsys.readouterr().err
    assert not out.exists()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty hub cache, and no network."""
    from huggingface_hub import constants

    cache = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


def test_a_hub_name_in_the_cache_needs_no_network(
    hub: Path, model: Path, texts: Path, tmp_path: Path
):
    """The cache's layout: blobs, and a snapshot of links to them under the commit's name."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = hub / "models--Org--Tiny-Random"
    snapshot = repository / "snapshots" / commit
    for folder in (snapshot, repository / "refs", repository / "blobs"):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    for number, file in enumerate(sorted(model.iterdir())):
        shutil.copy(file, repository / "blobs" / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    scores = {}
    for name, source in (("hub", "Org/Tiny-Random"), ("folder", str(model))):
        out = tmp_path / f"{name}.jsonl"
        command = ["score", "--model", source, "--input", str(texts), "--output", str(out)]
        assert main.main(command) == 0
        scores[name] = out.read_text()
    assert scores["hub"] == scores["folder"]
    assert main.main(["export", "Org/Tiny-Random", "--out", str(tmp_path / "out")]) == 0
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "acim.yaml"):
        assert not (tmp_path / "out" / name).is_symlink()
        assert (tmp_path / "out" / name).read_bytes() == (model / name).read_bytes()


def test_a_hub_name_offline_says_how_to_go_on(
    hub: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    command = ["score", "--model", "Org/Other", "--input", str(texts), "--output", str(out)]
    assert main.main(command) == 2
    message = capsys.readouterr().err
    assert all(part in message for part in ("'Org/Other'", str(hub), "hf download Org/Other"))
    assert not out.exists()
