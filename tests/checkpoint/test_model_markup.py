"""The `model.markup` of a run config: a template by name over what the model's folder says."""

from pathlib import Path

import pytest

from acim_jax.bad_input import BadInput
from acim_jax.checkpoint import acim_yaml, model_folder
from acim_jax.config import run as config
from acim_jax.markup.templates import TEMPLATES
from tests.support import model_folders, tiny_models

RETOOL = "model: {path: %s, markup: {name: retool, max_turns: 3, system: null, stop: ['Q:']}}"


def loaded(folder: Path, text: str, overrides: config.Overrides = ()) -> config.RunConfig:
    path = folder.with_suffix(".yaml")
    path.write_text(text)
    return config.load(path, overrides)


def test_a_template_by_name(tmp_path: Path):
    folder = model_folders.write_model(tmp_path / "m")
    run = loaded(folder, RETOOL % folder)
    assert loaded(folder, config.dump(run)) == run
    model = model_folder.open_model(run.model)
    markup = model.markup
    assert model.has_markup
    assert (markup.code_open, markup.max_turns, markup.stop) == ("<code>\n", 3, ("Q:",))
    assert markup.user == TEMPLATES["retool"].user


def test_fields_override_those_of_the_folder(tmp_path: Path):
    folder = model_folders.write_model(tmp_path / "m")
    run = loaded(folder, f"model: {{path: {folder}}}", [("model.markup.max_turns", "5")])
    markup = model_folder.open_model(run.model).markup
    assert (markup.max_turns, markup.code_open) == (5, tiny_models.CHATTY.code_open)
    plain = loaded(folder, f"model: {{path: {folder}}}")
    assert model_folder.open_model(plain.model).markup == tiny_models.CHATTY


def test_the_folder_may_name_one_too(tmp_path: Path):
    folder = model_folders.write_model(tmp_path / "m")
    (folder / acim_yaml.NAME).write_text("name: tora\nmax_turns: 2\n")
    run = loaded(folder, f"model: {{path: {folder}, markup: {{max_output_chars: 99}}}}")
    markup = model_folder.open_model(run.model).markup
    assert markup.template == "<|user|>\n{problem}\n<|assistant|>\n"
    assert (markup.max_turns, markup.max_output_chars) == (2, 99)


def test_what_is_refused(tmp_path: Path):
    folder = model_folders.write_model(tmp_path / "m")
    wrong = loaded(folder, f"model: {{path: {folder}, markup: {{name: retol}}}}")
    with pytest.raises(ValueError, match=r"model\.markup: name: no template .* mean 'retool'"):
        model_folder.open_model(wrong.model)
    with pytest.raises(BadInput, match=r"model\.markup\.stop"):
        loaded(folder, f"model: {{path: {folder}, markup: {{stop: [1]}}}}")


@pytest.mark.parametrize(
    "text", ["[]", "5", "{", "model: 5", "model: {where: m}", "model: {path: 3}", "lora: {r: 1}"]
)
def test_a_config_of_a_run_that_cannot_be_read_is_named(tmp_path: Path, text: str):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError) as raised:
        model_folder.open_model(str(tmp_path))
    assert str(raised.value).startswith(f"{tmp_path / 'config.yaml'} is not the config of a run")
