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

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
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

#: Layers, width, feed-forward width, heads, vocabulary of Qwen2.5-1.5B.
QWEN_1_5B = "28,1536,8960,12,151936"
HEAD_DIM, KV_HEADS = 128, 2
MESH = MeshConfig(data=1, fsdp=4, tensor=2)
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def make_checkpoint(folder: Path, shape: str) -> int:
    """Writes a folder with one file of random finite weights; returns the weights' bytes."""
    layers, hidden, intermediate, heads, vocabulary = map(int, shape.split(","))
    config = ModelConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=KV_HEADS,
        head_dim=HEAD_DIM,
        dtype="bfloat16",
        param_dtype="bfloat16",
    )
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
    return sum(int(np.prod(shape)) for shape in shapes.values()) * BFLOAT16.itemsize


def load(folder: Path, devices: int) -> transformer.Params:
    config = hf_config.read_config(folder)
    shardings = None
    if devices > 1:
        layout = axes.Layout.of(mesh.make(MESH), axes.TRAIN_RULES)
        shardings = place.param_shardings(transformer.abstract_params(config), layout)
    return jax.block_until_ready(hf_import.load(folder, config, shardings=shardings))


def child_import(folder: Path, devices: int) -> None:
    """Says that it is ready, reads, says what each device holds, and writes; each after a line of
    input."""
    jax.config.update("jax_num_cpu_devices", devices)
    jax.block_until_ready(jax.jit(lambda: jax.numpy.zeros(3))())
    print("ready", flush=True)
    sys.stdin.readline()
    params = load(folder, devices)
    held, share = [0] * devices, 0
    for x in jax.tree.leaves(params):
        for shard in x.addressable_shards:
            held[shard.device.id] += shard.data.nbytes
        split = [axis for axis in x.sharding.spec if axis] if devices > 1 else []
        share += x.nbytes // int(np.prod([x.sharding.mesh.shape[axis] for axis in split]))
    print(json.dumps({"held": held, "share": share}), flush=True)
    sys.stdin.readline()
    hf_export.save(folder / f"written-{devices}", params, hf_config.read_config(folder))
    print("written", flush=True)


def child_time(folder: Path) -> None:
    """Both readers in turn, in both orders; prints the seconds of each."""
    file = folder / "model.safetensors"
    readers: dict[str, Callable[[], object]] = {
        "ours": lambda: load(folder, 1),
        "safetensors": lambda: safetensors.numpy.load_file(file),
    }
    for reader in readers.values():  # page cache and compilation
        reader()
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    for name in ("ours", "safetensors", "safetensors", "ours", "ours", "safetensors"):
        start = time.perf_counter()
        readers[name]()
        seconds[name].append(time.perf_counter() - start)
    print(json.dumps(seconds))


def anonymous_bytes(process: int) -> int:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("This kernel does not state RssAnon.")


def next_line(child: "subprocess.Popen[str]") -> tuple[str, int]:
    """The child's next line of output, and the peak of its anonymous memory until then."""
    output = child.stdout
    assert output is not None
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.append(output.readline()))
    reader.start()
    peak = 0
    while reader.is_alive():
        peak = max(peak, anonymous_bytes(child.pid))
        time.sleep(0.002)
    if not lines[0]:
        raise RuntimeError("The measured process ended before it was done.")
    return lines[0], peak


def measure_import(folder: Path, devices: int) -> dict[str, Any]:
    """A child's anonymous memory before and in import and export, and what each device holds."""
    command = [sys.executable, __file__, "--child", "import", str(folder), str(devices)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as child:
        assert child.stdin is not None
        next_line(child)
        baseline = anonymous_bytes(child.pid)
        child.stdin.write("\n")
        held, peak = next_line(child)
        child.stdin.write("\n")
        _, export_peak = next_line(child)
    return {"baseline": baseline, "peak": peak, "export_peak": export_peak, **json.loads(held)}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", default=QWEN_1_5B, metavar="L,D,F,N,V")
    parser.add_argument("--slack-mb", type=float, default=1000, help="beside the model's bytes")
    parser.add_argument("--scratch", type=Path, help="where to make the checkpoint, deleted after")
    parser.add_argument("--no-time", action="store_true", help="measure memory only")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    match args.child:
        case ["import", folder, devices]:
            child_import(Path(folder), int(devices))
            return 0
        case ["time", folder]:
            child_time(Path(folder))
            return 0
    good = True
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        folder = Path(scratch)
        model = make_checkpoint(folder, args.shape)
        for devices in (1, 8):
            found = measure_import(folder, devices)
            good &= report_memory(found, model, devices, args.slack_mb * 1e6)
        if not args.no_time:
            command = [sys.executable, __file__, "--child", "time", str(folder)]
            seconds = json.loads(subprocess.check_output(command, text=True))
            report_time(seconds, model / 1e9)
    return 0 if good else 1


def report_memory(found: dict[str, Any], model: int, devices: int, slack: float) -> bool:
    print(
        f"{devices} device(s): model {model / 1e6:.0f} MB; anonymous memory "
        f"{found['baseline'] / 1e6:.0f} MB before"
    )
    beside = {"import": found["peak"] - model, "export": found["export_peak"] - model}
    # An export from several devices gathers tensors, and the allocator keeps what that took.
    allowed = {"import": slack, "export": slack + model / 4}
    for name, over in beside.items():
        print(
            f"  {name}: peak {(model + over) / 1e6:.0f} MB, {over / 1e6:.0f} MB beside the model, "
            f"allowed {allowed[name] / 1e6:.0f}"
        )
    held = found["held"]
    print(
        f"  a device holds {min(held) / 1e6:.1f} to {max(held) / 1e6:.1f} MB, "
        f"its share is {found['share'] / 1e6:.1f}"
    )
    print(json.dumps({"devices": devices, "model": model, **found}), flush=True)
    fits = all(beside[name] <= allowed[name] for name in beside)
    return fits and max(held) <= found["share"]


def report_time(seconds: dict[str, list[float]], gigabytes: float) -> None:
    for name, times in seconds.items():
        each = ", ".join(f"{t / gigabytes:.2f}" for t in times)
        print(f"{name}: {statistics.median(times) / gigabytes:.2f} s/GB (single reads: {each})")


if __name__ == "__main__":
    sys.exit(main())
