"""`python -m kernels_ref.calibrate --out DIR`: as `kvsim calibrate`, without kvsim's own needs."""

import argparse
import sys
from pathlib import Path

from kernels_ref.calibrate.driver import CLASSES


def main() -> int:
    """Parses the arguments, measures, prints the table. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m kernels_ref.calibrate", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the CSVs; rows that are there are kept")
    parser.add_argument("--only", default=",".join(CLASSES), help=f"some of {','.join(CLASSES)}")
    parser.add_argument("--fine", action="store_true", help="larger grids, four times as long")
    parser.add_argument("--scale", type=float, default=1.0, help="of each class's seconds")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if wrong := [name for name in names if name not in CLASSES]:
        parser.error(f"--only: unknown class {wrong[0]!r}; there are {', '.join(CLASSES)}")
    from kernels_ref.calibrate.start import calibrate

    try:
        print("\n".join(calibrate(arguments.out, names, arguments.fine, arguments.scale)))
    except (ValueError, RuntimeError) as mistake:
        parser.error(str(mistake))
    return 0


if __name__ == "__main__":
    sys.exit(main())
