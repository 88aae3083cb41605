"""Runs with `lora`: warm-up and EM train adapters, and everything that takes a run takes theirs."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from acim_jax.checkpoint import hf_export, model_folder, model_names, peft, store
from acim_jax.cli import main
from acim_jax.em import loop
from acim_jax.explore.curriculum import History
from acim_jax.improve.config import ImproveConfig
from acim_jax.model import lora, scoring
from acim_jax.model.config import LoraConfig
from acim_jax.records import Author
from acim_jax.run import compilation, precompile
from acim_jax.run import resources as run_resources
from acim_jax.sharding.config import MeshConfig
from tests.support import model_folders, small_world, tiny_models

LORA = LoraConfig(rank=4, alpha=8.0)
SFT = """
method: sft
model: {{path: {model}}}
lora: {{rank: 2, alpha: 6.0, targets: [q, o, down]}}
data: {{num_train: 1, num_validation: 2, num_test: 2, demonstrations: generated:arithmetic}}
warmup: {{steps: 3, rows: 8, lr: 0.01, lr_warmup: 1, buckets: [144]}}
sampling: {{slots: 8, max_length: 160, prefill_rows: 8, prefill_buckets: [64]}}
executor: {{workers: 1}}
mesh: {{data: 8}}
evaluation: {{final_problems: 0}}
run: {{iterations: 0, trackers: []}}
"""


def bits(tree) -> list[bytes]:
    return [np.asarray(x).tobytes() for x in jax.tree.leaves(tree)]


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> model_folder.ModelFolder:
    """The warmed-up model of the small world, in a folder."""
    folder = tmp_path_factory.mktemp("small") / "model"
    hf_export.save(
        folder,
        small_world.warmed_up(),
        tiny_models.CONFIG,
        tokenizer_files_from=model_names.EMBEDDED["tiny"],
        markup=small_world.MARKUP,
    )
    return model_folder.open_model(str(folder))


def test_em_iterations(small_model, tmp_path: Path):
    """Two iterations: the base keeps its bits; rollouts were sampled from what the trainer scores;
    nothing compiles in the second; a restored checkpoint goes on to the same bits."""
    config = small_world.run_config(
        lora=LORA,
        mesh=MeshConfig(1, 1, 1),
        improve=ImproveConfig(
            lr=3e-3, minibatches=2, microbatch_rows=8, replay_weight=0.0, buckets=(32, 56)
        ),
    )
    with (
        run_resources.opened(config, small_model, small_world.PROBLEMS) as resources,
        compilation.CompileCounter() as counter,
    ):
        learner = resources.learner
        frozen = learner.frozen
        assert frozen is not None
        before = bits(frozen.params)
        state, history = learner.new_state(learner.new_adapters(LORA, config.seed)), History()
        precompile.compile_all(state, resources)
        run = lambda state, history, n: loop.em_iteration(  # noqa: E731
            state, small_world.PROBLEMS, history, resources, n, progress=0.0
        )
        first = run(state, history, 1)
        store.save(tmp_path, 1, first.state, {})
        adapters = jax.tree.map(jnp.copy, first.state.params)
        counter.take()
        second = run(first.state, first.history, 2)
        assert counter.take().executables == 0
        check_sampled_logprobs(second.exploration.episodes, adapters, frozen)
        restored, _ = store.restore(tmp_path, 1, learner.abstract_state(LORA))
        again = run(restored, first.history, 2)
        assert bits(again.state) == bits(second.state)
        assert again.fit == second.fit
        assert bits(frozen.params) == before
    assert second.fit.grad_norm > 0
    assert all(np.any(x) for x in jax.tree.leaves(adapters)), "every adapter has learned"


def check_sampled_logprobs(episodes, adapters: lora.Params, frozen: lora.Frozen) -> None:
    """log μ of the merged weights, sampled with a cache, is log π of base and adapters beside."""
    params = lora.model_params(adapters, frozen)
    score = jax.jit(lambda ids: scoring.token_logprobs(params, tiny_models.CONFIG, ids))
    rows = np.zeros((len(episodes), 56), np.int32)
    for row, episode in zip(rows, episodes, strict=True):
        row[: episode.num_tokens] = episode.token_ids
    compared = 0
    for row, episode in zip(np.asarray(score(rows)), episodes, strict=True):
        at = 0
        for segment in episode.segments:
            n = len(segment.token_ids)
            if segment.author is Author.MODEL:
                np.testing.assert_allclose(segment.logprobs, row[at : at + n], rtol=0, atol=1e-5)
                compared += n
            at += n
    assert compared > 100


@pytest.fixture(scope="module")
def sft_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished LoRA run over eight devices, with its model beside it."""
    folder = tmp_path_factory.mktemp("sft")
    model = model_folders.write_model(folder / "model")
    config = folder / "config.yaml"
    config.write_text(SFT.format(model=model))
    assert main.main(["train", str(config), "--out", str(folder / "run")]) == 0
    return folder / "run"


def logprobs(model: Path, out: Path) -> list[list[float]]:
    rows = [{"id": str(i), "token_ids": list(range(3 + i, 20 + 3 * i))} for i in range(2)]
    source = model_folders.write_rows(out.with_suffix(".in"), rows)
    command = ["score", "--model", str(model), "--input", str(source), "--output", str(out)]
    assert main.main(command) == 0
    return [row["logprobs"][1:] for row in model_folders.read_rows(out)]


def test_a_checkpoint_holds_adapters_only(sft_run: Path):
    _, metadata = store.restore(sft_run / "checkpoints", 0, {}, partial=True)
    assert metadata["iteration"] == 0
    model = model_folder.open_model(str(sft_run))
    adapters = model_folder.load_adapters(model, None)
    L, D, N, H, F, r = 2, 32, 4, 8, 48, 2
    size = sum(x.size for x in jax.tree.leaves(adapters))
    assert size == L * r * ((D + N * H) + (N * H + D) + (F + D))
    on_disk = sum(p.stat().st_size for p in (sft_run / "checkpoints").rglob("*") if p.is_file())
    weights = (sft_run.parent / "model" / "model.safetensors").stat().st_size
    assert on_disk < weights
    record = json.loads((sft_run / "base.json").read_text())
    assert record["model"] == str(sft_run.parent / "model")


def test_merged_export_adapter_export_and_run_are_one_model(sft_run: Path, tmp_path: Path):
    """All give the same log-probs; the merged weights are W + (α/r)·B·A of the exported halves."""
    merged, adapter = tmp_path / "merged", tmp_path / "adapter"
    assert main.main(["export", str(sft_run), "--out", str(merged)]) == 0
    assert main.main(["export", str(sft_run), "--adapter", "--out", str(adapter)]) == 0
    base = sft_run.parent / "model"
    assert peft.read(adapter).base == str(base)
    before, after, halves = (
        safetensors.numpy.load_file(file)
        for file in (
            base / "model.safetensors",
            merged / "model.safetensors",
            adapter / "adapter_model.safetensors",
        )
    )
    changed = 0
    for name, weight in before.items():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{stem}.lora_A.weight" in halves:
            b, a = (halves[f"{stem}.lora_{x}.weight"].astype(np.float64) for x in "BA")
            delta = 6.0 / 2 * b @ a
            assert np.abs(delta).max() > 1e-3
            np.testing.assert_allclose(after[name], weight + delta, rtol=0, atol=1e-6)
            changed += 1
        else:
            np.testing.assert_array_equal(after[name], weight)
    assert changed == 3 * model_folders.CONFIG.num_layers
    by_run, by_merged, by_adapter, without = (
        logprobs(model, tmp_path / f"{i}.jsonl")
        for i, model in enumerate((sft_run, merged, adapter, base))
    )
    for row, one in enumerate(by_run):
        np.testing.assert_allclose(one, by_merged[row], rtol=0, atol=1e-5)
        np.testing.assert_allclose(one, by_adapter[row], rtol=0, atol=1e-5)
        assert np.abs(np.subtract(one, without[row])).max() > 1e-2


def test_what_needs_adapters_refuses_models_without(
    sft_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    base, out = sft_run.parent / "model", tmp_path / "out"
    for source, options, said in (
        (base, [], "no adapters"),
        (sft_run, ["--dtype", "bfloat16"], "float32"),
    ):
        command = ["export", str(source), "--adapter", "--out", str(out), *options]
        assert main.main(command) == 2
        assert said in capsys.readouterr().err
        assert not out.exists()


def test_another_base_at_the_same_place_is_refused(
    sft_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run, base = tmp_path / "run", sft_run.parent / "model"
    shutil.copytree(sft_run, run)
    base.rename(tmp_path / "kept")
    try:
        model_folders.write_model(base, seed=5)
        for command in (
            ["export", str(run), "--out", str(tmp_path / "out")],
            ["train", "--resume", str(run)],
        ):
            capsys.readouterr()
            assert main.main(command) == 2
            assert "other weights" in capsys.readouterr().err
    finally:
        shutil.rmtree(base)
        (tmp_path / "kept").rename(base)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--lora.targets", "[q, gats]"], 'did you mean "gate"'),
        (["--lora.rank", "0"], "rank"),
        (["--lora.ranks", "4"], 'did you mean "rank"'),
        (["--model.init", "random"], "random weights"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_any_work(
    sft_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options, said: str
):
    config = sft_run.parent / "config.yaml"
    assert main.main(["train", str(config), "--out", str(tmp_path / "run"), *options]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_dry_run_counts_adapters(sft_run: Path, capsys: pytest.CaptureFixture[str]):
    assert main.main(["train", str(sft_run.parent / "config.yaml"), "--dry-run"]) == 0
    L, D, N, H, F, r = 2, 32, 4, 8, 48, 2
    count = L * r * ((D + N * H) + (N * H + D) + (F + D))
    assert f"{count} parameters of rank 2" in capsys.readouterr().err
