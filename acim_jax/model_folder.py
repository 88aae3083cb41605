"""What a `--model` argument can be: `tiny`, a Hugging Face folder, a run folder, or a hub name."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import yaml

from acim_jax import tokenizer as tokenizers
from acim_jax.checkpoint import acim_yaml, hf_config, hf_import, store
from acim_jax.markup import Markup
from acim_jax.model import transformer
from acim_jax.model.config import ModelConfig, ModelSource
from acim_jax.sharding import axes, place
from acim_jax.tokenizer import Tokenizer

EMBEDDED = {"tiny": Path(__file__).parent / "assets" / "tiny"}


@dataclasses.dataclass(frozen=True, eq=False)
class ModelFolder:
    """An opened model: everything but its weights, which `load_params` reads.

    name: as it was asked for. folder: the Hugging Face folder that holds configuration and
    tokenizer. run, step: the run and checkpoint the weights come from, None for `folder` itself.
    """

    name: str
    folder: Path
    config: ModelConfig
    tokenizer: Tokenizer
    markup: Markup
    has_markup: bool
    run: Path | None = None
    step: int | None = None


def open_model(source: ModelSource | str, *, step: int | None = None) -> ModelFolder:
    """Opens what `source` names. Raises FileNotFoundError or ValueError, naming the file.

    step: a run's checkpoint (the newest by default).
    """
    source = ModelSource(source) if isinstance(source, str) else source
    path = EMBEDDED.get(source.path, Path(source.path))
    if (path / "config.yaml").is_file() and not (path / "config.json").is_file():
        return _open_run(source, path, step)
    if not path.exists() and _is_hub_name(source.path):
        path = _download(source.path)
    if not path.is_dir():
        raise FileNotFoundError(
            f"No model at {source.path!r}: give `tiny`, a folder with config.json and "
            "*.safetensors, a run folder, or (with a network) a hub name like Qwen/Qwen2.5-0.5B."
        )
    config = _overridden(hf_config.read_config(path), source)
    tokenizer = tokenizers.load(path)
    if tokenizer.vocab_size > config.vocab_size:
        raise ValueError(
            f"{path}: the tokenizer has {tokenizer.vocab_size} tokens, the model's embedding only "
            f"{config.vocab_size}; tokenizer and weights do not belong together."
        )
    markup = acim_yaml.read_markup(path)
    chosen = markup or Markup(template="chat" if tokenizer.wrapper.chat_template else "plain")
    return ModelFolder(source.path, path, config, tokenizer, chosen, markup is not None)


def _open_run(source: ModelSource, run: Path, step: int | None) -> ModelFolder:
    content = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    section = dict(content.get("model") or {})
    for field in ("dtype", "param_dtype", "unroll", "remat"):
        if getattr(source, field) is not None:
            section[field] = getattr(source, field)
    base = open_model(ModelSource(**section))
    wanted = store.latest(run / "checkpoints") if step is None else step
    if wanted is None or wanted not in store.steps(run / "checkpoints"):
        raise FileNotFoundError(
            f"{run} holds no checkpoint{'' if step is None else f' of iteration {step}'}; it holds "
            f"{list(store.steps(run / 'checkpoints'))}."
        )
    return dataclasses.replace(base, name=str(run), run=run, step=wanted)


def _overridden(config: ModelConfig, source: ModelSource) -> ModelConfig:
    fields = ("dtype", "param_dtype", "unroll", "remat")
    chosen = {f: getattr(source, f) for f in fields if getattr(source, f) is not None}
    return dataclasses.replace(config, **chosen)


def _is_hub_name(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~"))


def _download(name: str) -> Path:
    import huggingface_hub  # only with a network; slow to import

    try:
        return Path(huggingface_hub.snapshot_download(name))
    except Exception as error:
        raise FileNotFoundError(
            f"{name!r} is no folder here, and could not be fetched from the hub: {error}"
        ) from error


def load_params(
    model: ModelFolder, layout: axes.Layout | None, *, init_key: jax.Array | None = None
) -> transformer.Params:
    """The weights, in the layout's sharding. init_key: make random ones instead of reading."""
    abstract = transformer.abstract_params(model.config)
    shardings = None if layout is None else place.param_shardings(abstract, layout)
    if init_key is not None:
        make: Callable[[jax.Array], transformer.Params] = jax.jit(
            lambda key: transformer.init(model.config, key), out_shardings=shardings
        )
        return make(init_key)
    if model.run is not None:
        assert model.step is not None
        like = {"params": _with_shardings(abstract, shardings)}
        restored, _ = store.restore(model.run / "checkpoints", model.step, like, partial=True)
        return restored["params"]
    dtype = model.config.param_dtype
    return hf_import.load(model.folder, model.config, shardings=shardings, dtype=dtype)


def _with_shardings(abstract: transformer.Params, shardings: transformer.Params | None):
    if shardings is None:
        return abstract
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), abstract, shardings
    )
