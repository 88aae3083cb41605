"""EM iterations over two processes with four devices each, against one process with eight."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support import process_pairs, training_process


@pytest.mark.slow
def test_two_processes_make_the_iterations_of_one(tmp_path: Path):
    """Real programs and rewards; each process explores its problems, all learn from all."""
    codes = process_pairs.run("tests.support.training_process", tmp_path, timeout_s=400)
    assert codes == [0, 0]
    first, second = (json.loads((tmp_path / f"{n}.json").read_text()) for n in range(2))
    assert first == second
    assert first[1]["compiled"] == 0
    alone = training_process.iterations(2)
    for ours, theirs in zip(alone, first, strict=True):
        # Without near ties there is nothing that could be drawn differently.
        assert ours["near_ties"] == theirs["near_ties"] == 0
        assert ours["tokens"] == theirs["tokens"]
        assert ours["rewards"] == theirs["rewards"]
        assert len(set(ours["rewards"])) == 2
        np.testing.assert_allclose(theirs["policy"], ours["policy"], rtol=0, atol=1e-4)
        assert ours["metrics"]["train/steps"] == 2
        for name, value in ours["metrics"].items():
            wanted = None if value is None else pytest.approx(value, rel=1e-3, abs=1e-4)
            assert theirs["metrics"][name] == wanted, name
