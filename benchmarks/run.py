"""The project's goals P1 to P8, measured on this host beside plain C.

    python benchmarks/run.py [--only P1,P3] [--quick] [--json] [--save NAME]

A goal is met when its figure is within the limit. A missed one is measured once more, and both are printed. With
everything on, it takes less than 15 minutes; what does not fit is named. Exit code: 0, or 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from goals import p1, p2, p3, p4, p5, p6, p7, p8
from goals.base import Check, Item, NotBuiltError, NotMeasurableError, Settings

from emu.errors import EmuError

GOALS = {"P1": p1, "P2": p2, "P3": p3, "P4": p4, "P5": p5, "P6": p6, "P7": p7, "P8": p8}
MOST_SECONDS = 14 * 60
RESULTS = Path(__file__).parent / "results"


def number(value: float, unit: str) -> str:
    """A figure as it is printed."""
    return f"{value:.3f} {unit}" if unit == "s" else f"{value:.2f}{unit}" if unit == "x" else f"{value:.2f} {unit}"


def line(check: Check, again: bool) -> str:
    """One figure as a line of the report."""
    times = ""
    if check.detail.get("floor_p50_ns"):
        times = f"   {check.detail['p50_ns'] / 1000:,.2f} us, floor {check.detail['floor_p50_ns'] / 1000:,.2f} us"
    mark = "met" if check.met else "MISSED"
    name = f"{check.what} (again)" if again else check.what
    limit = f"<= {number(check.limit, check.unit):<10}"
    return f"    {name:<44}{number(check.value, check.unit):>11}  {limit}{mark:<7}{times}"


def measure(item: Item, settings: Settings) -> list[dict[str, Any]]:
    """One item, twice if a limit was missed; its rows."""
    rows: list[dict[str, Any]] = []
    for attempt in (1, 2):
        begun = time.monotonic()
        try:
            checks = item.measure(settings)
        except NotBuiltError as error:
            return [{"goal": item.goal, "item": item.name, "skipped": f"not built yet: {error}"}]
        except (NotMeasurableError, EmuError) as error:
            rows.append({"goal": item.goal, "item": item.name, "skipped": f"not measurable: {error}"})
            return rows
        for check in checks:
            print(line(check, attempt > 1), flush=True)
            rows.append(as_row(item, check, attempt, time.monotonic() - begun))
        if all(check.met for check in checks):
            break
    return rows


def as_row(item: Item, check: Check, attempt: int, seconds: float) -> dict[str, Any]:
    """A figure for the JSON."""
    return {
        "goal": item.goal,
        "item": item.name,
        "what": check.what,
        "value": check.value,
        "limit": check.limit,
        "unit": check.unit,
        "met": check.met,
        "attempt": attempt,
        "seconds": seconds,
        **check.detail,
    }


def host() -> dict[str, Any]:
    """What the figures were measured on."""
    import os
    import platform

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "?")
    return {
        "kernel": platform.release(),
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg(),
        "time": time.strftime("%Y-%m-%d %H:%M"),
    }


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="P1,P3", help="these goals, or items of them by a word: P1,P3:512")
    parser.add_argument("--quick", action="store_true", help="5 pairs of short blocks: a look, no verdict")
    parser.add_argument("--pairs", type=int, help="pairs of blocks (default 15)")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end, the report on stderr")
    parser.add_argument("--save", metavar="NAME", help="write benchmarks/results/NAME.json")
    return parser.parse_args()


def chosen(only: str | None) -> list[Item]:
    """The items of --only."""
    everything = [item for module in GOALS.values() for item in module.ITEMS]
    if only is None:
        return everything
    found = []
    for word in only.split(","):
        goal, _, part = word.partition(":")
        if goal.upper() not in GOALS:
            raise SystemExit(f"benchmarks: no goal {goal!r}: one of {', '.join(GOALS)}")
        found += [item for item in everything if item.goal == goal.upper() and part in item.name]
    return found


def run(items: list[Item], settings: Settings) -> list[dict[str, Any]]:
    """Measure all; print as it goes."""
    begun = time.monotonic()
    rows: list[dict[str, Any]] = []
    last = ""
    for item in items:
        if item.goal != last:
            print(f"{item.goal}  {GOALS[item.goal].TITLE}", flush=True)
            last = item.goal
        if time.monotonic() - begun > MOST_SECONDS:
            found = [{"goal": item.goal, "item": item.name, "skipped": "not measured: no time left"}]
        else:
            found = measure(item, settings)
        for row in found:
            if "skipped" in row:
                print(f"    {row['item']:<44}{row['skipped']}", flush=True)
        rows += found
    return rows


def verdicts(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Goal -> met, missed, or what is missing; a figure met at its second attempt is met."""
    found: dict[str, str] = {}
    for goal in GOALS:
        of_goal = [row for row in rows if row["goal"] == goal]
        names = {row["what"] for row in of_goal if "what" in row}
        missed = [n for n in names if not any(row["met"] for row in of_goal if row.get("what") == n)]
        skipped = [row["item"] for row in of_goal if "skipped" in row]
        if of_goal:
            text = "met" if not missed else f"MISSED: {', '.join(sorted(missed))}"
            text = text if names else "not measured"
            found[goal] = text + (f" (without {', '.join(skipped)})" if skipped and names else "")
    return found


def main() -> int:
    """Measure, print, save."""
    args = options()
    settings = Settings(args.pairs or (5 if args.quick else 15), args.quick)
    real = sys.stdout
    if args.json:
        sys.stdout = sys.stderr
    about = host()
    cores = f"{about['cores']} cores, Linux {about['kernel']}, load {about['load'][0]:.1f}"
    print(f"{about['cpu']}, {cores}, {about['time']}")
    rows = run(chosen(args.only), settings)
    found = verdicts(rows)
    print("".join(f"\n{goal}: {text}" for goal, text in found.items()))
    result = {"host": about, "pairs": settings.pairs, "quick": settings.quick, "verdicts": found, "rows": rows}
    if args.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{args.save}.json").write_text(json.dumps(result, indent=1) + "\n")
    if args.json:
        real.write(json.dumps(result) + "\n")
    return int(any("MISSED" in text for text in found.values()))


if __name__ == "__main__":
    sys.exit(main())
