"""Two processes of one job: each reads its own slices, and together they write one folder."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

from acim_jax.checkpoint import hf_import
from tests.support.hf_folders import assert_same_bytes, raw_tensors, small_config, write_random

#: One process of two with four devices each; the mesh's fsdp axis goes across both.
PROCESS = """
import json, sys
from pathlib import Path
import jax
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_cpu_collectives_implementation", "gloo")
source, out, number, port = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=number)
from acim_jax.checkpoint import hf_config, hf_export, hf_import, safetensors_file
from acim_jax.model import transformer
from acim_jax.sharding import axes, mesh, place
from acim_jax.sharding.config import MeshConfig
fetched, written = {}, []
fetch = safetensors_file.Tensor.fetch
def counting(self, index, dtype):
    part = fetch(self, index, dtype)
    fetched[self.name] = fetched.get(self.name, 0) + part.size
    return part
safetensors_file.Tensor.fetch = counting
def audit(event, arguments):
    if event == "open" and ".partial-" in str(arguments[0]) and "w" in str(arguments[1]):
        written.append(Path(str(arguments[0])).name)
sys.addaudithook(audit)
config = hf_config.read_config(source)
layout = axes.Layout.of(mesh.make(MeshConfig(fsdp=4, tensor=2)), axes.TRAIN_RULES)
shardings = place.param_shardings(transformer.abstract_params(config), layout)
params = hf_import.load(source, config, shardings=shardings)
hf_export.save(out, params, config, max_shard_bytes=1500)
there = (out / "config.json").is_file()
result = {"fetched": fetched, "written": written, "there": there}
(out.parent / f"{number}.json").write_text(json.dumps(result))
"""


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return listening.getsockname()[1]


def test_each_process_reads_its_half_and_the_first_writes_all(tmp_path: Path):
    config = small_config("qwen2", "bfloat16", tied=False)
    source, out = tmp_path / "source", tmp_path / "out"
    tensors = write_random(source, config, "bfloat16")
    arguments = [sys.executable, "-c", PROCESS, str(source), str(out)]
    port = str(free_port())
    processes = [
        subprocess.Popen([*arguments, str(number), port], stdout=subprocess.DEVNULL)
        for number in range(2)
    ]
    try:
        codes = [process.wait(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert codes == [0, 0]
    first, second = (json.loads((tmp_path / f"{number}.json").read_text()) for number in range(2))
    for name, array in tensors.items():
        # Norms and biases have no axis that is split over the two processes.
        share = array.size if "norm" in name or "bias" in name else array.size // 2
        assert (first["fetched"][name], second["fetched"][name]) == (share, share), name
    assert_same_bytes(raw_tensors(out), tensors)
    assert "config.json" in first["written"] and second["written"] == []
    assert first["there"] and second["there"]
    again = hf_import.load(out, config)
    np.testing.assert_array_equal(again["unembed"]["kernel"], tensors["lm_head.weight"].T)
