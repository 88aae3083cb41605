"""What a config's run takes of each device: the plan's estimate and, if wanted, a compiler's.

    python scripts/plan_memory.py configs/qwen2.5-7b-tpu.yaml --model DIR
    python scripts/plan_memory.py configs/qwen2.5-7b-tpu.yaml --model DIR --compile cpu
    python scripts/plan_memory.py configs/qwen2.5-7b-tpu.yaml --model DIR --compile topology

DIR holds the model's config.json; nothing else of it is read. The hardware is the one that the
config's `# Hardware:` line names; no such device is needed. `--compile cpu` compiles for as many
virtual CPU devices, `topology` for the named TPUs (with `jax[tpu]`) or GPUs (with `jax[cuda12]`).
Prompts are taken to fill the widest prefill bucket with their decision prefix.
"""

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from scripts import bench

HARDWARE = re.compile(r"^# Hardware: (\S+), (\d+) devices? of ([\d.]+) GiB\.$", re.MULTILINE)
GIB = 2**30
#: Set before jax starts: virtual CPU devices, and a libtpu that looks for no TPU.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
    # The compilers' least effort: figures differ by a few per cent, times by a factor of four.
    "JAX_EXEC_TIME_OPTIMIZATION_EFFORT": "-1.0",
    "JAX_MEMORY_FITTING_EFFORT": "-1.0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}


def main() -> None:
    parser = bench.options(__doc__)
    parser.add_argument("config", type=Path, help="a config with a `# Hardware:` line")
    parser.add_argument("--model", type=Path, required=True, metavar="DIR")
    parser.add_argument("--compile", choices=["cpu", "topology"])
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="compile only these, e.g. decode"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    args = parser.parse_args()
    stated = HARDWARE.search(args.config.read_text(encoding="utf-8"))
    if stated is None:
        parser.error(f"{args.config} has no line `# Hardware: NAME, N devices of X GiB.`")
    hardware, count, size = stated.groups()
    for variable, value in {**ENVIRONMENT, "JAX_NUM_CPU_DEVICES": count}.items():
        os.environ.setdefault(variable, value)
    found = {"config": args.config.name, "hardware": hardware, "device_gib": float(size)}
    found |= plan(args, hardware, int(count))
    if args.json:
        print(json.dumps(found))
    else:
        _print(found)


def plan(args: argparse.Namespace, hardware: str, count: int) -> dict[str, Any]:
    """The estimate, and with --compile every executable's figures, as plain values in bytes."""
    import jax  # it reads the environment as it starts

    from acim_jax.config import run as config
    from acim_jax.planning import executables, memory, topology
    from acim_jax.planning.workload import Place
    from acim_jax.run import dry_run
    from acim_jax.sharding import mesh

    chosen = config.load(args.config)
    device = None
    if args.compile is None:
        train, sample = mesh.layouts_of(mesh.abstract(chosen.mesh, count))
    else:
        devices = jax.devices() if args.compile == "cpu" else topology.devices(hardware)
        # A mesh even of one device, which tells the kernels what is compiled for.
        train, sample = mesh.layouts_of(mesh.make(chosen.mesh, devices))
        device = devices[0]
    at = Place(train, sample, device)
    shards = train.shards("batch") if train else 1
    workload, *more = (dry_run.planned(o, args.model, shards=shards) for o in dry_run.parts(chosen))
    found: dict[str, Any] = {}
    for phase in (memory.exploring, memory.improving):
        estimates = (phase(one, at, scores=False) for one in (workload, *more))
        estimate = max(estimates, key=lambda one: one.total)
        found[phase.__name__] = {**estimate._asdict(), "total": estimate.total}
    if args.compile is None:
        return found
    lowered = {**executables.sampling(workload, at), **executables.training(workload, at)}
    found["executables"] = {}
    for name, lower in lowered.items():
        if args.only and name not in args.only:
            continue
        started = time.perf_counter()
        try:
            figures = executables.measure(lower())._asdict()
        except jax.errors.JaxRuntimeError as error:  # it does not fit: that is an answer
            figures = {"refused": str(error).partition("\n")[0]}
        seconds = time.perf_counter() - started
        found["executables"][name] = {**figures, "seconds": seconds}
        print(f"{name}: {seconds:.0f} s", file=sys.stderr)
    return found


def _print(found: dict[str, Any]) -> None:
    def listed(figures: dict[str, float]) -> str:
        return ", ".join(f"{name} {value / GIB:.2f}" for name, value in figures.items()) + " GiB"

    print(f"{found['config']}: {found['hardware']}, {found['device_gib']} GiB each")
    for phase in ("exploring", "improving"):
        print(f"  {phase}: {listed(found[phase])}")
    for name, figures in found.get("executables", {}).items():
        seconds = figures.pop("seconds")
        refused = figures.get("refused")
        print(f"  {name}: {refused or f'{listed(figures)}, compiled in {seconds:.0f} s'}")


if __name__ == "__main__":
    main()
