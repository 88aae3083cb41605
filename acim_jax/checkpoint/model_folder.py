"""What a `--model` argument can be: `tiny`, a Hugging Face folder, a run folder, or a hub name."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import yaml

from acim_jax.checkpoint import acim_yaml, hf_config, hf_import, lora_base, model_names, peft, store
from acim_jax.markup import Markup, templates
from acim_jax.markup import tokenizer as tokenizers
from acim_jax.markup.tokenizer import Tokenizer
from acim_jax.model import lora, transformer
from acim_jax.model.config import LoraConfig, ModelConfig, ModelSource
from acim_jax.sharding import axes, place

#: Of a hub repository; weights as pickles are never loaded, so they are not fetched either.
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", acim_yaml.NAME]
#: The same weights in their makers' own layouts.
_HUB_DUPLICATES = ["original/*", "consolidated*"]


@dataclasses.dataclass(frozen=True, eq=False)
class ModelFolder:
    """An opened model: everything but its weights, which `load_params` reads.

    name: as requested. folder: the Hugging Face folder that holds configuration and
    tokenizer. run, step: the run and checkpoint the weights come from, None for `folder` itself.
    adapted: the weights are another model's, with adapters from the run or from a PEFT folder.
    """

    name: str
    folder: Path
    config: ModelConfig
    tokenizer: Tokenizer
    markup: Markup
    has_markup: bool
    run: Path | None = None
    step: int | None = None
    adapted: "Adapted | None" = None


@dataclasses.dataclass(frozen=True, eq=False)
class Adapted:
    """The model that adapters belong to, their settings, and their PEFT folder if not a run's."""

    base: ModelFolder
    settings: LoraConfig
    folder: Path | None = None


def open_model(source: ModelSource | str, *, step: int | None = None) -> ModelFolder:
    """Opens what `source` names. Raises FileNotFoundError or ValueError, naming the file.

    step: a run's checkpoint (the newest by default).
    """
    source = ModelSource(source) if isinstance(source, str) else source
    path = model_names.EMBEDDED.get(source.path, Path(source.path))
    if (path / "config.yaml").is_file() and not (path / "config.json").is_file():
        return _marked_up(_open_run(source, path, step), source)
    model_names.check(source.path)
    if not path.is_dir():
        path = _download(source.path)
    if peft.is_adapter(path):
        return _marked_up(_open_adapter(source, path), source)
    config = overridden(hf_config.read_config(path), source)
    tokenizer = tokenizers.load(path)
    if tokenizer.vocab_size > config.vocab_size:
        raise ValueError(
            f"{path}: the tokenizer has {tokenizer.vocab_size} tokens, the model's embedding only "
            f"{config.vocab_size}; tokenizer and weights do not belong together."
        )
    markup = acim_yaml.read_markup(path)
    chosen = markup or templates.TEMPLATES["chat" if tokenizer.wrapper.chat_template else "plain"]
    model = ModelFolder(source.path, path, config, tokenizer, chosen, markup is not None)
    return _marked_up(model, source)


def _marked_up(model: ModelFolder, source: ModelSource) -> ModelFolder:
    """The model with the markup fields that a config states, and its own for the rest."""
    if not source.markup:
        return model
    markup = templates.from_fields(source.markup, "model.markup", model.markup)
    return dataclasses.replace(model, markup=markup, has_markup=True)


def _open_run(source: ModelSource, run: Path, step: int | None) -> ModelFolder:
    stated, settings = _sections(run / "config.yaml", source)
    base = open_model(stated)
    wanted = store.latest(run / "checkpoints") if step is None else step
    if wanted is None or wanted not in store.steps(run / "checkpoints"):
        raise FileNotFoundError(
            f"{run} holds no checkpoint{'' if step is None else f' of iteration {step}'}; it holds "
            f"{list(store.steps(run / 'checkpoints'))}."
        )
    adapted = None if settings is None else Adapted(base, settings)
    return dataclasses.replace(base, name=str(run), run=run, step=wanted, adapted=adapted)


def _sections(file: Path, source: ModelSource) -> tuple[ModelSource, LoraConfig | None]:
    """`model`, with what `source` states instead, and `lora` of a run's config. ValueError names
    the file."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        stated = ModelSource(**dict(content.get("model") or {}) | _stated(source))
        if (section := content.get("lora")) is None:
            return stated, None
        targets = tuple(section.get("targets", LoraConfig.targets))
        return stated, LoraConfig(**section | {"targets": targets})
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is not the config of a run: {error}") from error


def _open_adapter(source: ModelSource, folder: Path) -> ModelFolder:
    """A PEFT folder: its base is where its config says, relative to this process."""
    settings, where = peft.read(folder)
    try:
        base = open_model(dataclasses.replace(source, path=where))
    except FileNotFoundError as error:
        file = folder / peft.CONFIG
        raise FileNotFoundError(f"{file}: base_model_name_or_path: {error}") from error
    lora.check(settings, base.config)
    markup = acim_yaml.read_markup(folder)
    if markup is not None:
        base = dataclasses.replace(base, markup=markup, has_markup=True)
    adapted = Adapted(base, settings, folder)
    return dataclasses.replace(base, name=source.path, run=None, step=None, adapted=adapted)


def overridden(config: ModelConfig, source: ModelSource) -> ModelConfig:
    """A folder's own configuration with what `source` states instead."""
    return dataclasses.replace(config, **_stated(source))


def _stated(source: ModelSource) -> dict[str, Any]:
    """How `source` wants the model to be run, where it says so."""
    fields = ("dtype", "param_dtype", "unroll", "remat")
    return {f: getattr(source, f) for f in fields if getattr(source, f) is not None}


def _download(name: str) -> Path:
    """The hub's snapshot of a model: from the cache, else over the network."""
    import huggingface_hub  # only for hub names; slow to import

    try:
        folder = huggingface_hub.snapshot_download(
            name, allow_patterns=_HUB_FILES, ignore_patterns=_HUB_DUPLICATES
        )
    except Exception as error:
        raise FileNotFoundError(
            f"{name!r} is no folder here and not in the hub's cache "
            f"({huggingface_hub.constants.HF_HUB_CACHE}), and could not be fetched: {error} "
            f"Without a network, run `hf download {name}` where there is one, copy the folder that "
            "it prints, and give that folder as the model."
        ) from error
    return Path(folder)


def load_params(
    model: ModelFolder, layout: axes.Layout | None, *, init_key: jax.Array | None = None
) -> transformer.Params:
    """The weights, in the layout's sharding, adapters merged into them. init_key: make random ones
    instead of reading."""
    abstract = transformer.abstract_params(model.config)
    shardings = None if layout is None else place.param_shardings(abstract, layout)
    if init_key is not None:
        make: Callable[[jax.Array], transformer.Params] = jax.jit(
            lambda key: transformer.init(model.config, key), out_shardings=shardings
        )
        return make(init_key)
    if model.adapted is not None:
        return lora.merge(*_adapters_and_base(model, layout), layout=layout, donate=True)
    if model.run is not None:
        return _from_run(model, abstract, layout)
    return hf_import.load(model.folder, model.config, shardings=shardings)


def load_for_sampling(model: ModelFolder, layout: axes.Layout | None) -> transformer.Params:
    """The weights to sample and score with: those of `load_params`, but of a model with adapters as
    its run sampled them (`lora.for_sampling`), so that nothing of small updates is lost."""
    if model.adapted is None or model.config.dtype == model.config.param_dtype == "float32":
        return load_params(model, layout)
    adapters, frozen = _adapters_and_base(model, layout)
    return lora.for_sampling(adapters, frozen, model.config, layout=layout)


def _adapters_and_base(
    model: ModelFolder, layout: axes.Layout | None
) -> tuple[lora.Params, lora.Frozen]:
    assert model.adapted is not None
    adapters = load_adapters(model, layout)
    base = load_params(model.adapted.base, layout)
    if model.run is not None:
        lora_base.check(model.run, base)
    return adapters, lora.Frozen(base, jnp.float32(model.adapted.settings.scale))


def load_adapters(model: ModelFolder, layout: axes.Layout | None) -> lora.Params:
    """The adapters of a LoRA run or a PEFT folder. Raises ValueError if there are none."""
    if model.adapted is None:
        raise ValueError(f"{model.name} has no adapters: it was not trained with `lora`.")
    settings, folder = model.adapted.settings, model.adapted.folder
    abstract = lora.abstract(settings, transformer.abstract_params(model.config))
    if folder is not None:
        shardings = None if layout is None else place.param_shardings(abstract, layout)
        return peft.load(folder, settings, model.config, shardings)
    return _from_run(model, abstract, layout)


def _from_run(
    model: ModelFolder, abstract: transformer.Params, layout: axes.Layout | None
) -> transformer.Params:
    """What a run trained, from the checkpoint that was asked for."""
    assert model.run is not None and model.step is not None
    like = {"params": place.param_shapes(abstract, layout)}
    restored, _ = store.restore(model.run / "checkpoints", model.step, like, partial=True)
    return restored["params"]
