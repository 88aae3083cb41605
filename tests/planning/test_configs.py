"""The configs of real runs: their models, the memory they state, and their executables."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from acim_jax.checkpoint import hf_config
from acim_jax.config import run as config
from acim_jax.model import transformer
from acim_jax.planning import executables, memory
from acim_jax.planning.workload import Place
from acim_jax.run import dry_run
from acim_jax.sharding import mesh

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "tests" / "golden" / "configs"
HARDWARE = re.compile(r"^# Hardware: (\S+), (\d+) devices? of ([\d.]+) GiB\.$", re.MULTILINE)
MEMORY = re.compile(
    r"^# Memory per device: ([\d.]+) GiB exploring, ([\d.]+) GiB improving\.$", re.MULTILINE
)
CONFIGS = sorted(p for p in (ROOT / "configs").glob("*.yaml") if HARDWARE.search(p.read_text()))
GIB = 2**30
#: What a JAX process takes of a GPU unless it is told otherwise; TPUs are taken whole.
GPU_SHARE = 0.75

#: Parameters, as the makers' safetensors files count them.
PARAMETERS = {
    "qwen2.5-math-1.5b": 1_543_714_304,
    "qwen2.5-7b": 7_615_616_512,
    "deepseek-math-7b": 6_910_365_696,
    "qwen3-8b": 8_190_735_360,
    "deepseek-r1-distill-qwen-1.5b": 1_777_088_000,
}


def has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def model_of(path: Path) -> Path:
    return MODELS / next(name for name in PARAMETERS if path.name.startswith(name))


def hardware(path: Path) -> tuple[str, int, float]:
    found = HARDWARE.search(path.read_text())
    assert found is not None
    return found[1], int(found[2]), float(found[3])


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_model_has_as_many_parameters_as_its_makers_say(name: str) -> None:
    model = hf_config.read_config(MODELS / name)
    params = transformer.abstract_params(model)
    assert sum(x.size for x in jax.tree.leaves(params)) == PARAMETERS[name]


def test_every_model_has_configs_for_tpu_and_gpu() -> None:
    kinds = {(model_of(p).name, "-tpu" in p.stem) for p in CONFIGS}
    assert kinds == {(name, on_tpu) for name in PARAMETERS for on_tpu in (True, False)}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_the_memory_stated_is_the_memory_planned_and_fits(path: Path) -> None:
    """On a mesh of as many devices as stated, which need not exist."""
    name, count, size = hardware(path)
    stated = MEMORY.search(path.read_text())
    assert stated is not None
    chosen = config.load(path)
    made = mesh.abstract(chosen.mesh, count)
    assert made.size == count
    train, sample = mesh.layouts_of(made)
    at, shards = Place(train, sample), train.shards("batch")
    planned = [dry_run.planned(o, model_of(path), shards=shards) for o in dry_run.parts(chosen)]
    exploring = max(memory.exploring(one, at, scores=False).total for one in planned) / GIB
    improving = max(memory.improving(one, at, scores=False).total for one in planned) / GIB
    assert float(stated[1]) == pytest.approx(exploring, rel=0.02)
    assert float(stated[2]) == pytest.approx(improving, rel=0.02)
    share = 1.0 if name[0] == "v" else GPU_SHARE
    assert max(exploring, improving) < 0.97 * share * size


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_a_config_agrees_with_its_model_and_mesh(path: Path) -> None:
    """What a run checks at its start, but for the data."""
    whole = config.load(path)
    model = hf_config.read_config(model_of(path))
    train, _ = mesh.layouts_of(mesh.abstract(whole.mesh, hardware(path)[1]))
    shards = train.shards("batch")
    assert model.num_kv_heads % train.shards("kv_heads") == 0
    assert whole.lora is not None or whole.model.param_dtype == "float32"
    for chosen in dry_run.parts(whole):
        for rows in (chosen.sampling.slots, chosen.improve.microbatch_rows, chosen.warmup.rows):
            assert rows % shards == 0
        assert chosen.sampling.max_length <= model.max_positions
        assert chosen.improve.buckets[-1] == chosen.sampling.max_length  # no rollout is too long
        rollouts = chosen.explore.rollouts_per_problem * chosen.explore.problems
        assert chosen.sampling.slots < rollouts


def test_the_published_stages() -> None:
    """arXiv:2504.00829: two stages of math, and math with code."""
    name = "deepseek-r1-distill-qwen-1.5b"
    first, second = config.of_stages(config.load(ROOT / f"configs/{name}-staged.yaml"))
    for stage in (first, second):
        assert (stage.method, stage.explore.problems, stage.explore.drawn_rollouts) == (
            "rl", 128, 16
        )  # fmt: skip
        assert (stage.improve.lr, stage.improve.minibatches, stage.improve.epochs) == (1e-6, 1, 1)
        assert stage.improve.advantage == "normalised" and stage.improve.kl_weight == 0.001
    assert (first.sampling.max_length, second.sampling.max_length) == (16 * 1024, 24 * 1024)
    assert (first.improve.entropy_weight, second.improve.entropy_weight) == (0.001, 0)
    assert (first.explore.drop_truncated, second.explore.drop_truncated) == (False, True)
    assert [stage.data.where for stage in (first, second)] == [({"levels": 2},), ({"levels": 3},)]
    joint = config.load(ROOT / f"configs/{name}-joint-gpu.yaml")
    assert joint.stages == () and joint.explore.mix == {"math": 2.1, "code": 1.0}


def compiled(path: Path, names: tuple[str, ...]) -> dict[str, executables.Measured]:
    """The config's functions, compiled for this process's eight virtual devices."""
    chosen = config.load(path)
    train, sample = mesh.layouts(chosen.mesh)
    shards = train.shards("batch") if train is not None else 1
    planned = dry_run.planned(chosen, model_of(path), shards=shards)
    at = Place(train, sample)
    lowered = executables.sampling(planned, at) | executables.training(planned, at)
    return {name: executables.measure(lowered[name]()) for name in names}


@pytest.mark.parametrize("stem", ["qwen2.5-math-1.5b-tpu", "qwen2.5-7b-gpu"])
def test_sampling_and_training_compile_for_eight_devices(stem: str) -> None:
    """Arguments are sharded as planned: the compiler's bytes are the plan's."""
    path = ROOT / "configs" / f"{stem}.yaml"
    found = compiled(path, ("decode", "policy gradient"))
    chosen = config.load(path)
    train, sample = mesh.layouts(chosen.mesh)
    assert train is not None
    planned = dry_run.planned(chosen, model_of(path), shards=train.shards("batch"))
    exploring = memory.exploring(planned, Place(train, sample), scores=True)
    improving = memory.improving(planned, Place(train, sample), scores=True)
    flags = planned.model.vocab_size
    assert found["decode"].arguments == pytest.approx(
        exploring.weights + exploring.pages + flags, rel=1e-4
    )
    assert found["decode"].results < 2**20  # the cache is updated in place; new is the log alone
    held = improving.weights + improving.gradients // 2
    assert found["policy gradient"].arguments == pytest.approx(held, rel=1e-3)
    assert found["policy gradient"].results < 2**20  # the accumulator is given back


def plan(path: Path, *options: str, **environment: str) -> dict[str, object]:
    """The script's JSON, from a process with as many devices as the config states."""
    script = ROOT / "scripts" / "plan_memory.py"
    command = [sys.executable, str(script), str(path), "--model", str(model_of(path)), "--json"]
    own = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    done = subprocess.run(
        [*command, *options],
        capture_output=True,
        text=True,
        env={**own, **environment},
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_function_compiles_for_as_many_virtual_devices(path: Path) -> None:
    chosen = config.load(path)
    if chosen.improve.buckets[-1] > 4096:  # a CPU's attention keeps all scores: hundreds of GB
        pytest.skip("rows of 16 k tokens are compiled for their own hardware only")
    found = plan(path, "--compile", "cpu")["executables"]
    assert isinstance(found, dict)
    assert {"decode", "policy gradient", "optimiser", "decision gradient"} <= found.keys()
    assert all("refused" not in figures for figures in found.values())


@pytest.mark.slow
@pytest.mark.skipif(not has("libtpu"), reason="needs jax[tpu]")
@pytest.mark.parametrize(
    "path", [p for p in CONFIGS if hardware(p)[0][0] == "v"], ids=lambda p: p.stem
)
def test_every_function_compiles_for_its_tpus_and_fits(path: Path) -> None:
    """The compiler's figures, with what is held beside an executable, are near the plan's."""
    found = plan(path, "--compile", "topology")
    check_against_compiler(found)


@pytest.mark.slow
@pytest.mark.skipif(not has("jax_cuda12_plugin"), reason="needs jax[cuda12]")
@pytest.mark.parametrize(
    "path", [p for p in CONFIGS if hardware(p)[0][0] != "v"], ids=lambda p: p.stem
)
def test_every_function_compiles_for_its_gpus(path: Path) -> None:
    """Without a GPU in the process attention keeps its scores, so gradients are not compared."""
    found = plan(path, "--compile", "topology")
    check_against_compiler(found, trains=False)


def check_against_compiler(found: dict[str, object], *, trains: bool = True) -> None:
    """Where nothing was refused: totals within a fifth of the plan's, and within the device."""
    figures, exploring, improving = (found[k] for k in ("executables", "exploring", "improving"))
    assert isinstance(figures, dict) and isinstance(exploring, dict) and isinstance(improving, dict)
    assert [name for name, one in figures.items() if "refused" in one] == []
    sampling = exploring["held"] + max(
        total(one) for name, one in figures.items() if name == "decode" or "extend" in name
    )
    gradients = improving["moments"] + max(
        total(one) for name, one in figures.items() if "gradient" in name
    )
    assert sampling == pytest.approx(exploring["total"], rel=0.2)
    size = float(str(found["device_gib"])) * GIB
    assert sampling < size
    if trains:
        assert gradients == pytest.approx(improving["total"], rel=0.2)
        assert gradients < size


def total(figures: dict[str, float]) -> float:
    return sum(value for name, value in figures.items() if name != "seconds")
