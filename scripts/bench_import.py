"""What reading a checkpoint costs, in memory and in time beside the safetensors package's own read,
and what writing it costs in memory.

    python scripts/bench_import.py                                   # a 1.5B-shaped one, 3.1 GB
    python scripts/bench_import.py --shape 16,256,16384,4,1000 --slack-mb 400

Makes a random bfloat16 checkpoint, reads it in processes of their own onto one and onto eight
virtual CPU devices (whose memory is the host's), writes it again, and prints the peaks of each
process's anonymous memory, sampled from /proc (Linux), what each device holds, and seconds per GB
read from a warm page cache. Exits 1 if a peak exceeds the model's bytes and the slack, or a device
holds more than its share.
"""

import json
import math
import multiprocessing
import statistics
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import safetensors.numpy

from acim_jax.checkpoint import hf_config, hf_export, hf_import, hf_table, safetensors_file
from acim_jax.model import transformer
from acim_jax.model.config import ModelConfig
from acim_jax.sharding import axes, mesh, place
from acim_jax.sharding.config import MeshConfig
from scripts import bench

#: Layers, width, feed-forward width, heads, vocabulary of Qwen2.5-1.5B.
QWEN_1_5B = "28,1536,8960,12,151936"
HEAD_DIM, KV_HEADS = 128, 2
MESH = MeshConfig(data=1, fsdp=4, tensor=2)
#: Measured processes start anew: nothing of this one is theirs.
SPAWN = multiprocessing.get_context("spawn")
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def make_checkpoint(folder: Path, shape: str) -> int:
    """Writes a folder with one file of random finite weights; returns the weights' bytes."""
    layers, hidden, intermediate, heads, vocabulary = map(int, shape.split(","))
    sizes = (vocabulary, hidden, intermediate, layers, heads, KV_HEADS, HEAD_DIM)
    config = ModelConfig(*sizes, dtype="bfloat16", param_dtype="bfloat16")
    shapes = {
        name: weight.tensor_shape
        for weight in hf_table.family_of(config).weights_of(config)
        for name in weight.tensor_names
    }
    draw = np.random.default_rng(0).integers(0, 0x7F80, size=1 << 20, dtype=np.uint16)
    tensors = (np.resize(draw, shape).view(BFLOAT16) for shape in shapes.values())
    safetensors_file.write(folder / "model.safetensors", shapes, BFLOAT16, tensors)
    content = hf_config.config_json(config, "bfloat16", {})
    (folder / "config.json").write_text(json.dumps(content))
    return sum(map(math.prod, shapes.values())) * BFLOAT16.itemsize


def load(folder: Path, devices: int) -> transformer.Params:
    config = hf_config.read_config(folder)
    shardings = None
    if devices > 1:
        layout = axes.Layout.of(mesh.make(MESH), axes.TRAIN_RULES)
        shardings = place.param_shardings(transformer.abstract_params(config), layout)
    return jax.block_until_ready(hf_import.load(folder, config, shardings=shardings))


def child_import(folder: Path, devices: int, parent: Connection) -> None:
    """Says that it is ready, reads, says what each device holds, and writes; each of the last two
    when it is told to."""
    jax.config.update("jax_num_cpu_devices", devices)
    jax.block_until_ready(jax.jit(lambda: jax.numpy.zeros(3))())
    parent.send("ready")
    parent.recv()
    params = load(folder, devices)
    held, share = [0] * devices, 0
    for x in jax.tree.leaves(params):
        for shard in x.addressable_shards:
            held[shard.device.id] += shard.data.nbytes
        share += x.nbytes * math.prod(x.sharding.shard_shape(x.shape)) // x.size
    parent.send({"held": held, "share": share})
    parent.recv()
    hf_export.save(folder / f"written-{devices}", params, hf_config.read_config(folder))
    parent.send("written")


def child_time(folder: Path) -> dict[str, list[float]]:
    """Seconds of both readers, in turn and in both orders."""
    file = folder / "model.safetensors"
    readers = {
        "ours": lambda: bench.seconds(lambda: load(folder, 1)),
        "safetensors": lambda: bench.seconds(lambda: safetensors.numpy.load_file(file)),
    }
    return bench.in_turns(readers, 3)


def anonymous_bytes(process: int | None) -> int:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("This kernel does not state RssAnon, or the measured process has ended.")


def measure_import(folder: Path, devices: int) -> dict[str, Any]:
    """A child's anonymous memory before and in import and export, and what each device holds."""
    ours, theirs = SPAWN.Pipe()
    child = SPAWN.Process(target=child_import, args=(folder, devices, theirs))
    child.start()

    def answer() -> tuple[Any, int]:
        """The child's next message, and the peak of its anonymous memory until then."""
        peak = 0
        while not ours.poll(0.002):
            peak = max(peak, anonymous_bytes(child.pid))
        return ours.recv(), peak

    answer()
    baseline = anonymous_bytes(child.pid)
    ours.send("import")
    held, peak = answer()
    ours.send("export")
    _, export_peak = answer()
    child.join()
    return {"baseline": baseline, "peak": peak, "export_peak": export_peak, **held}


def main() -> int:
    parser = bench.options(__doc__)
    parser.add_argument("--shape", default=QWEN_1_5B, metavar="L,D,F,N,V")
    parser.add_argument("--slack-mb", type=float, default=1000, help="beside the model's bytes")
    parser.add_argument("--scratch", type=Path, help="where to make the checkpoint, deleted after")
    parser.add_argument("--no-time", action="store_true", help="measure memory only")
    args = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        folder = Path(scratch)
        model = make_checkpoint(folder, args.shape)
        for devices in (1, 8):
            found = measure_import(folder, devices)
            good &= report_memory(found, model, devices, args.slack_mb * 1e6)
        if not args.no_time:
            with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
                report_time(pool.submit(child_time, folder).result(), model / 1e9)
    return 0 if good else 1


def report_memory(found: dict[str, Any], model: int, devices: int, slack: float) -> bool:
    print(f"{devices} device(s): model {model / 1e6:.0f} MB; ", end="")
    print(f"anonymous memory {found['baseline'] / 1e6:.0f} MB before")
    held, share = found["held"], found["share"]
    fits = max(held) <= share
    # An export from several devices gathers tensors, and the allocator keeps what that took.
    for name, peak, allowed in (
        ("import", found["peak"], slack),
        ("export", found["export_peak"], slack + model / 4),
    ):
        fits &= peak - model <= allowed
        beside = f"{(peak - model) / 1e6:.0f} MB beside the model, allowed {allowed / 1e6:.0f}"
        print(f"  {name}: peak {peak / 1e6:.0f} MB, {beside}")
    least, most = min(held) / 1e6, max(held) / 1e6
    print(f"  a device holds {least:.1f} to {most:.1f} MB, its share is {share / 1e6:.1f}")
    print(json.dumps({"devices": devices, "model": model, **found}), flush=True)
    return fits


def report_time(seconds: dict[str, list[float]], gigabytes: float) -> None:
    for name, times in seconds.items():
        each = ", ".join(f"{t / gigabytes:.2f}" for t in times)
        print(f"{name}: {statistics.median(times) / gigabytes:.2f} s/GB (single reads: {each})")


if __name__ == "__main__":
    sys.exit(main())
