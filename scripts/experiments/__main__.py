"""Runs the experiments of this folder on the embedded model, one after another, and draws them.

    pip install -e '.[dev]'
    python -m scripts.experiments --out runs/experiments
    python -m scripts.experiments b h --seeds 3 --out runs/experiments

Every experiment is an `acim experiment` of its YAML file, in a folder of its own; the same command
again goes on after what is finished. NAMES are the files' first letters. For each it writes
OUT/NAME.md, a table, and OUT/NAME.svg. `--draw-only` runs nothing. All of them at five seeds are
260 runs of about a minute.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from scripts.experiments import figures

HERE = Path(__file__).parent
FILES = {path.stem[0]: path for path in sorted(HERE.glob("?_*.yaml"))}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help=f"of {', '.join(FILES)} (default: all)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--draw-only", action="store_true")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in FILES]:
        parser.error(f"there is no experiment {unknown[0]!r}; there are {', '.join(FILES)}")
    for name in args.names or FILES:
        file = FILES[name]
        folder = args.out / file.stem
        if not args.draw_only:
            started = time.monotonic()
            run(file, folder, args.seeds)
            print(f"{file.stem}: {(time.monotonic() - started) / 60:.1f} min", flush=True)
        if (folder / "results.json").is_file():
            figures.write(file, folder, args.out)
    return 0


def run(file: Path, folder: Path, seeds: int) -> None:
    """Raises CalledProcessError where a run fails; what is finished stays."""
    command = [sys.executable, "-m", "acim_jax.cli.main", "experiment", str(file)]
    command += ["--out", str(folder), "--seeds", str(seeds)]
    if (folder / "experiment.yaml").is_file():
        command.append("--resume")
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
