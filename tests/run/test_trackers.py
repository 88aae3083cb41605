"""Trackers of other people: found at start, told the numbers, and never the end of a run."""

import logging
import types

import pytest

from acim_jax.run import trackers


@pytest.fixture
def service(monkeypatch):
    """A module in place of W&B's and of trackio's that keeps what it is told."""
    told = []

    def init(**settings):
        told.append(("init", settings))
        return object()

    def log(numbers, step):
        told.append(("log", step, numbers))

    module = types.SimpleNamespace(
        __name__="service", init=init, log=log, finish=lambda: told.append(("finish",))
    )
    monkeypatch.setattr(trackers.importlib, "import_module", lambda name: module)
    return module, told


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_run_keeps_its_name_over_a_resume(service, tmp_path, name):
    _, told = service
    for first in (0, 3):
        (tracker,) = trackers.opened([name], tmp_path, "mine", {"seed": 1}, first=first)
        tracker.write(first, {"eval/accuracy": 0.5})
        tracker.close()
    (_, begun), line, end, (_, resumed), *_ = told
    assert begun == resumed and begun["resume"] == "allow" and begun["config"] == {"seed": 1}
    assert "mine" in begun["name"] and begun["project"] == "acim_jax"
    assert (line, end) == (("log", 0, {"eval/accuracy": 0.5}), ("finish",))


def test_a_tracker_that_fails_is_left_out(service, tmp_path, caplog):
    module, told = service

    def down(*_, **__):
        raise ConnectionError("no network")

    (tracker,) = trackers.opened(["wandb"], tmp_path, "", {}, first=0)
    module.log = down
    with caplog.at_level(logging.WARNING):
        tracker.write(1, {"x": 1.0})
        tracker.write(2, {"x": 2.0})
    tracker.close()
    assert caplog.text.count("service is left out from here on: no network") == 1
    assert [what for what, *_ in told] == ["init"]


def test_a_missing_package_is_refused_at_the_start(monkeypatch):
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    trackers.check(["tensorboard"])
    with pytest.raises(ValueError, match=r"run.trackers: wandb is not installed; `pip install"):
        trackers.check(["tensorboard", "wandb"])
