"""A tiny random model in a folder, for commands that take `--model`."""

from pathlib import Path

import pytest

from tests.support import model_folders


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folders.write_model(tmp_path_factory.mktemp("models") / "random")
