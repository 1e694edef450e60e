"""Kill `organoseg predict` (SIGKILL) at random moments, run it again, and compare with a run that was left alone.

    python benchmarks/kill_predict.py --model MODEL --images FOLDER --out runs/kill_predict --kills 20

After each kill every file under a final name has to be whole: it is opened and decoded. In the end all files have to be
the same, byte for byte but for times of day. Writes ``kill_predict.json``
(of each kill: pictures that were done before the start, pictures and seconds after which it came). Exit code 1 when a
file differs.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

KILLS_A_RUN = 4
#: Times of day and durations: in run.json as ISO, in the report as people write them.
TIMES = re.compile(
    rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(\+00:00|Z| UTC)?|\"seconds\": [\d.]+|<dd>[\d.,]+ (s|min|h)</dd>"
)


def command(args: argparse.Namespace, out: Path) -> list[str]:
    """One run, with every kind of file."""
    words = [sys.executable, "-m", "organoseg.cli.main", "predict", str(args.images)]
    words += ["--model", str(args.model), "--out", str(out), "--write", "all", "--device", "cpu"]
    return [*words, "--precision", "fp32", "--threads", "1", "--progress", "json"]


def finish(words: list[str]) -> None:
    """A run that nobody disturbs."""
    if subprocess.run(words, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        raise SystemExit("a run failed")


def killed(words: list[str], pictures: int, seconds: float) -> bool:
    """Kill a run so many seconds after so many pictures are done; False when it was done before."""
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        seen = 0
        while seen < pictures and (line := process.stderr.readline()):
            seen += line.startswith('{"event": "item"')
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return True
    return False


def tree(out: Path) -> dict[str, bytes]:
    """Every file by its place, without times."""
    files = (p for p in out.rglob("*") if p.is_file() and ".tmp-" not in str(p))
    return {p.relative_to(out).as_posix(): TIMES.sub(b"TIME", p.read_bytes()) for p in files}


def torn(out: Path) -> list[str]:
    """Files under their final names that are not whole."""
    import numpy as np
    import tifffile
    import zarr
    from PIL import Image

    found = []
    for path in out.rglob("*"):
        if ".tmp-" in str(path) or (path.is_dir() and path.suffix != ".zarr"):
            continue
        try:
            if path.is_dir():
                for _, array in zarr.open_group(path, mode="r").arrays():
                    np.asarray(array[...])
            elif path.suffix in (".json", ".geojson"):
                json.loads(path.read_bytes())
            elif path.suffix in (".tif", ".tiff"):
                tifffile.imread(path)
            elif path.suffix in (".png", ".jpg"):
                Image.open(path).load()
            elif path.suffix == ".zip":
                with zipfile.ZipFile(path) as archive:
                    assert archive.testzip() is None
            elif path.suffix == ".html":
                assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
        except Exception as error:  # noqa: BLE001 (whatever a decoder throws, the file is torn)
            found.append(f"{path.relative_to(out)}: {error}")
    return found


def one(args: argparse.Namespace, out: Path, draw: random.Random, facts: dict[str, Any]) -> None:
    """A run that is killed some times, begun again each time, and then left to end."""
    shutil.rmtree(out, ignore_errors=True)
    pictures = facts["pictures"]
    for _ in range(KILLS_A_RUN):
        done = len(list((out / "parts").rglob("*.json")))
        # Up to the end of the pictures that are left, and into the making of the joint files.
        moment = draw.randint(0, (pictures - done) // 2), draw.uniform(0, 1.5)
        if killed(command(args, out), *moment):
            facts["kills"].append([done, *moment])
            facts["torn"] += torn(out)
    finish(command(args, out))


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draw = random.Random(args.seed)  # noqa: S311
    whole = args.out / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    finish(command(args, whole))
    expected = tree(whole)
    facts: dict[str, Any] = {"files": len(expected), "kills": [], "torn": [], "differences": []}
    facts["pictures"] = len(list((whole / "parts").rglob("*.json")))
    number = 0
    while len(facts["kills"]) < args.kills:
        out = args.out / f"run-{number}"
        one(args, out, draw, facts)
        found = tree(out)
        differ = [k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k)]
        facts["differences"] += [f"run-{number}/{name}" for name in sorted(differ)]
        number += 1
    (args.out / "kill_predict.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(json.dumps(facts, indent=2))
    return 1 if facts["differences"] or facts["torn"] else 0


if __name__ == "__main__":
    sys.exit(main())
