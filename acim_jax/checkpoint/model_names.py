"""What a `--model` argument can name, without opening it."""

from pathlib import Path

#: Models that the package holds.
EMBEDDED = {"tiny": Path(__file__).parents[1] / "assets" / "tiny"}


def check(name: str) -> None:
    """FileNotFoundError unless `name` is embedded, a folder, or may be a hub name."""
    path = EMBEDDED.get(name, Path(name))
    if not path.is_dir() and (path.exists() or not is_hub_name(name)):
        raise FileNotFoundError(
            f"No model at {name!r}: give `tiny`, a folder with config.json and *.safetensors, a "
            "run folder, or (with a network) a hub name like Qwen/Qwen2.5-0.5B."
        )


def is_hub_name(name: str) -> bool:
    """Whether `name` has the form `owner/model`."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~"))
