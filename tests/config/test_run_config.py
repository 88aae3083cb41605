"""RunConfig: precedence, round trip, and refusals at the border."""

# The tables of refusals read best with one case a line.
# ruff: noqa: E501

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from acim_jax.bad_input import BadInput
from acim_jax.config import run as config
from acim_jax.improve.config import ImproveConfig


def loaded(
    folder: Path, text: str, overrides: config.Overrides = (), name: str = "c.yaml"
) -> config.RunConfig:
    (folder / name).write_text(text)
    return config.load(folder / name, overrides)


def test_precedence_default_extended_file_option(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("seed: 1\nimprove: {lr: 1e-4, epochs: 2}\n")
    text = "extends: base.yaml\nimprove: {epochs: 3, b1: 0.8}\nrun: {iterations: 0}\n"
    read = loaded(tmp_path, text, [("improve.b1", "0.7"), ("method", "sft")])
    assert read.improve == dataclasses.replace(ImproveConfig(), lr=1e-4, epochs=3, b1=0.7)
    assert (read.seed, read.method) == (1, "sft")
    assert read.run == config.RunSettings(iterations=0)


def test_what_is_dumped_loads_to_an_equal_config(tmp_path: Path) -> None:
    overrides = [("improve.lr", "1e-5"), ("run.name", "1e-5"), ("data.mapping", "{problem: 'on'}")]
    one = loaded(tmp_path, "seed: 4\nmodel: {dtype: bfloat16}\n", overrides)
    assert (one.improve.lr, one.run.name, one.data.mapping) == (1e-5, "1e-5", {"problem": "on"})
    assert loaded(tmp_path, config.dump(one)) == one
    assert one != loaded(tmp_path, "seed: 4\n")


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert loaded(tmp_path, "# nothing\n") == config.RunConfig()


def test_a_list_as_an_option_may_be_comma_separated(tmp_path: Path) -> None:
    overrides = [
        ("improve.buckets", "32,4096"),
        ("data.test", "a.jsonl"),
        ("data.num_test", "null"),
    ]
    read = loaded(tmp_path, "{}", overrides)
    assert (read.improve.buckets, read.data.test) == ((32, 4096), ("a.jsonl",))


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("explore:\n  alfa: 2\n", [], 'c.yaml:2: explore.alfa: unknown field; did you mean "alpha"'),
        ("improve: {lr: fast}\n", [], 'c.yaml:1: improve.lr: expected a number, got the string "f'),
        ("{}", [("improve.lr", "abc")], '--improve.lr: expected a number, got the string "abc"'),
        ("{}", [("improv.lr", "1")], '--improv.lr: improv: unknown field; did you mean "improve"?'),
        ("{}", [("improve.buckets", "8,x")], '--improve.buckets: improve.buckets[1]: expected a whole'),
        ("mothod: em\n", [], 'c.yaml:1: mothod: unknown field; did you mean "method"?'),
        ("method: grpo\n", [], 'c.yaml:1: method: expected one of em, rl, sft, got the string "grp'),
        ("seed: -1\n", [], "c.yaml:1: seed: must be at least 0, got the number -1"),
        ("run: {keep_checkpoints: 0}\n", [], "c.yaml:1: run.keep_checkpoints: must be at least 1, "),
        ("improve:\n  lr: 0\n", [], "c.yaml:2: improve.lr: must be above 0, got the number 0"),
        ("improve:\n  buckets: [64, 32]\n", [], "c.yaml:2: improve.buckets: must be distinct widths in ris"),
        ("explore:\n  beta: 1\n  keep: 5\n", [], "c.yaml:3: explore: keep must lie between 0 (all) and gui"),
        ("lora:\n", [("lora.targets", "q,x")], '--lora.targets: lora: targets: "x" is no projection'),
        ("arms: {}\n", [], "c.yaml: this is an experiment, it has `arms`: acim experiment c.yaml"),
    ],
)  # fmt: skip
def test_refusals(
    text: str,
    overrides: list[tuple[str, str]],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput) as caught:
        loaded(Path(), text, overrides)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: rl\n", "c.yaml:1: explore.guided_rollouts: plain RL has no guides"),
        (
            "explore:\n  native_rollouts: 4\n  guided_rollouts: 0\n",
            "c.yaml:3: explore.guided_rollouts: EM explores both decisions",
        ),
        ("method: sft\nrun:\n  iterations: 3\n", "c.yaml:3: run.iterations: method sft is the warm"),
        ("seed: 1\nmodel: {init: random}\nlora: {}\n", "c.yaml:3: lora: adapters to random weights"),
        (
            "mesh: {data: 2, fsdp: 4, tensor: -1}\nwarmup: {rows: 12}\n",
            "c.yaml:2: warmup.rows is 12, but this mesh splits rows into 8 equal parts",
        ),
        ("mesh: {fsdp: 3}\nwarmup: {rows: 63}\nsampling:\n  slots: 63\nimprove: {microbatch_rows: 4}\n",
         "c.yaml:5: improve.microbatch_rows is 4, but this mesh splits rows into 3 equal parts"),
        ("sampling: {max_length: 200}\nimprove: {buckets: [64, 160]}\n",
         "c.yaml:1: sampling.max_length is 200, but the widest of improve.buckets holds 160 tokens"),
        ("improve:\n  advantage: maxrl\nexplore:\n  reward_wrong: -1.0\n",
         "c.yaml:2: improve.advantage: maxrl divides by the mean reward"),
        ("sampling: {top_p: 0.7}\n",
         "c.yaml:1: sampling.top_k, sampling.top_p and sampling.min_p truncate the distribution"),
    ],
)  # fmt: skip
def test_sections_that_contradict_one_another(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput) as caught:
        loaded(Path(), text)
    assert str(caught.value).startswith(message)


def test_all_errors_of_a_config_are_listed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text("improve:\n  lr: fast\n")
    text = "extends: base.yaml\nexplore:\n  alfa: 2\n  beta: 0\nmodel: {markup: {stop: 1.5}}\n"
    with pytest.raises(BadInput) as caught:
        loaded(Path(), text, [("method", "grpo"), ("run.iterations", "-1")])
    assert str(caught.value).splitlines() == [
        "--method: expected one of em, rl, sft, got the string \"grpo\"",
        "--run.iterations: must be at least 0, got the number -1",
        f'{tmp_path}/base.yaml:2: improve.lr: expected a number, got the string "fast"',
        'c.yaml:3: explore.alfa: unknown field; did you mean "alpha"?',
        "c.yaml:4: explore.beta: must be above 0, got the number 0",
        "c.yaml:5: model.markup.stop: expected a string or a whole number or true or false or a "
        "list of strings, got the number 1.5",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"lr": 0.0},
        {"lr": "1"},
        {"buckets": (64, 32)},
        {"buckets": ()},
        {"replay_rows": 0, "replay_weight": 1.0},
        {"x": 1},
    ],
)
def test_a_section_made_in_code_is_checked_too(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        ImproveConfig(**changes)  # pyright: ignore[reportArgumentType]
    with pytest.raises(dataclasses.FrozenInstanceError):
        ImproveConfig().lr = 1.0  # pyright: ignore[reportAttributeAccessIssue]


def test_a_config_is_read_without_jax() -> None:
    code = (
        "import sys\n"
        "from acim_jax.config import describe, experiment, run\n"
        "assert not {'jax', 'flax', 'optax', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
