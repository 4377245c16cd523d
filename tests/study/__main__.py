"""Studies of the estimators and of the conformance battery: ``python -m tests.study``.

Coverage: the share of games in which a "lower bound" exceeds the true epsilon, beside its exact 95%
interval and the nominal level. Tightness: the bound over the epsilon of the pair that was played.
Levels: the same share summed over all files of few values, law by law.
Comparison: other tools on the same scores, where they are installed. Conformance: faults found,
false alarms, and transforms in use. Canaries: bounds of many real runs, by design. The tables
replace what stands between the markers of docs/estimators.md, docs/conformance.md and
docs/attacks.md.
"""

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from tests.study.conformance import PARTS
from tests.study.levels import level_table
from tests.study.peers import MECHANISM, peers_table
from tests.study.tables import (
    DELTA,
    LEVEL,
    SLOTS,
    Tick,
    coverage_table,
    one_run_table,
    tightness_table,
)
from tests.study.two_worlds import two_world_table

DOCS = Path(__file__).resolve().parents[2] / "docs"
ESTIMATORS, CANARIES, LEVELS = "estimators", "canaries", "levels"


def study(repetitions: int, seed: int, tick: Tick) -> str:
    """Runs everything; returns the Markdown that stands between the markers."""
    few = max(2, repetitions // 4)
    covered = coverage_table(repetitions, seed, tick)
    tight, alone = tightness_table(few, seed, tick), one_run_table(few, seed, tick)
    compared = peers_table(repetitions, seed, tick)
    sigma = MECHANISM.noise_multiplier
    return f"""**Coverage.** {SLOTS} scores a game, fair coins, confidence {100 * (1 - LEVEL):g}%,
delta {DELTA:g} (0 for randomised response): the games of `cropaudit selftest`.

{covered}

**Tightness, independent trials.** The bound over the epsilon of the pair played, q = 0.1,
rho = 0.3, delta {DELTA:g}, confidence {100 * (1 - LEVEL):g}%, N trials in each world: the median of
{few} games (in brackets the middle 80%).

{tight}

**Tightness, one run.** n independent canaries in all.

{alone}

**Other tools on the same scores.** Poisson pair, sigma {sigma:g}, 100 steps; {repetitions} games of
each kind. The last column is one bound on many scores, what was planned or computed before kept.

{compared}

Seed {seed}, `--repetitions {repetitions}`."""


def write(text: str, part: str) -> None:
    """Puts the tables between the markers of the document of this part.

    Raises:
        ValueError: If the document does not hold both markers once, in order.
    """
    documents = {ESTIMATORS: "estimators.md", LEVELS: "estimators.md", CANARIES: "attacks.md"}
    document = DOCS / documents.get(part, "conformance.md")
    name = "study" if part == ESTIMATORS else f"study {part}"
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = document.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{document.name} must hold the markers {begin} and {end}")
    document.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def main() -> None:
    """Parses the command line, runs the study and writes or prints its tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.study", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=200, help="games of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of all randomness")
    names = (ESTIMATORS, CANARIES, LEVELS, *PARTS)
    parser.add_argument("--part", choices=names, help="this one only", action="append")
    parser.add_argument("--print", action="store_true", help="print only, leave the document")
    arguments = parser.parse_args()
    if arguments.repetitions < 1:
        parser.error(f"--repetitions must be at least 1, got {arguments.repetitions}")
    start = time.perf_counter()
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("Games", total=None)

        def tick(title: str) -> None:
            progress.update(task, description=title)

        for part in arguments.part or names:
            if part == ESTIMATORS:
                text = study(arguments.repetitions, arguments.seed, tick)
            elif part == LEVELS:  # 8,000 repetitions are every pair of sizes
                text = level_table(150, max(1, 8000 // arguments.repetitions), tick)
            elif part == CANARIES:
                text = two_world_table(max(20, arguments.repetitions), arguments.seed, tick)
            else:
                text = PARTS[part](arguments.repetitions, tick)
            if arguments.print:
                print(text)
            else:
                write(text, part)
    print(f"{time.perf_counter() - start:.0f} seconds", file=sys.stderr)


if __name__ == "__main__":
    main()
