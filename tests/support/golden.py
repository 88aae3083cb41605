"""Golden models: weights and inputs drawn by name, so that only their outputs are stored.

`make_golden.py` runs transformers on them, the tests run ours. Nothing of the package is
imported here: the script's environment has torch instead.
"""

import json
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parents[1] / "golden"
ROWS, COLUMNS = 2, 44
LENGTHS = np.array([44, 29])
#: Of each row, this many tokens are the prompt of a greedy continuation.
PROMPTS = np.array([12, 7])
NEW_TOKENS = 64
#: Outputs of modules are stored at these columns, logits of every so manieth token.
MODULE_COLUMNS = np.array([0, 3, 8, 9, 15, 21, 28, 43])
LOGIT_COLUMNS = np.array([5, 28])
LOGIT_STRIDE = 4


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A random float32 array that depends on nothing but its name and shape.

    Inputs of modules (names beginning with `input`) have a spread of 1, weights of norms one of
    0.3 around 1, matrices of layers 0.2 and those of the vocabulary 0.3: with 24 wide models,
    logits are far from uniform and rounding errors do not grow from layer to layer.
    """
    noise = np.random.default_rng([*name.encode()]).standard_normal(shape, np.float32)
    if name.startswith("input"):
        return noise
    if "norm" in name:
        return 1 + np.float32(0.3) * noise
    return np.float32(0.2 if "layers" in name else 0.3) * noise


def token_ids(seed: int, vocab_size: int) -> np.ndarray:
    """[ROWS, COLUMNS] int32, right-padded with 0 beyond LENGTHS."""
    ids = np.random.default_rng(seed).integers(0, vocab_size, (ROWS, COLUMNS), np.int32)
    return np.where(np.arange(COLUMNS) < LENGTHS[:, None], ids, 0)


def cases() -> list[str]:
    """Names of the stored models."""
    return sorted(path.parent.name for path in FOLDER.glob("*/config.json"))


def expected(case: str) -> dict[str, np.ndarray]:
    """What transformers computed."""
    with np.load(FOLDER / case / "expected.npz") as arrays:
        return dict(arrays)


def tensors(stored: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of a model, given what is stored of it, under their names in the file."""
    seed = int(stored["seed"])
    shapes: dict[str, list[int]] = json.loads(str(stored["shapes"]))
    return {name: draw(f"{seed} {name}", tuple(shape)) for name, shape in shapes.items()}
