"""Figures, by matplotlib: small enough to be read at 400 pixels, as SVG or PNG. The same input gives the same bytes."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from emu.errors import NotSupportedError
from emu.format import count, nanoseconds
from emu.report import events
from emu.report.extract import PERCENTILES, changed, number
from emu.report.source import Source

SIZE = (4.2, 3.1)  # inches; 400 pixels wide
MARKERS = "osD^vPX*"
STYLES = ("-", "--", "-.", ":")
MOST_LATENCIES = 8
MOST_CELLS = 128  # of the matrix, in each direction: beyond, neighbours are put together
NARROW = 1e3  # an axis of fewer decades is labelled between them too


class Figure(NamedTuple):
    """A figure: what it is called, what is to be seen, the picture."""

    name: str
    title: str
    said: str
    draw: Callable[[Any], None]  # into matplotlib axes


def need(command: str, *modules: str) -> None:
    """Refuse, naming the extra, if something is not installed."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise NotSupportedError(f"{command} needs {module}: pip install 'percpu-emu[plots]'")


def render(figure: Figure, kind: str = "svg") -> bytes:
    """The picture as a file's bytes; `kind` is svg or png."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure as Canvas

    style: dict[Any, Any] = {
        "svg.hashsalt": "percpu-emu",
        "text.parse_math": False,  # a $ in a name is a $
        "font.size": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "axes.axisbelow": True,
    }
    with mpl.rc_context(style):
        canvas = Canvas(figsize=SIZE, layout="constrained")
        figure.draw(canvas.add_subplot())
        into = io.BytesIO()
        canvas.savefig(into, format=kind, dpi=200, metadata={"Date": None} if kind == "svg" else None)
    return into.getvalue()


def all_figures(sources: Sequence[Source]) -> list[Figure]:
    """Every figure that these runs have something for."""
    found = [*latency_figures(sources), *scaling_figures(sources)]
    for source in sources:
        found += [figure for figure in (interrupts(source), matrix(source), timeline(source)) if figure]
    return found


# --- latency --------------------------------------------------------------------------------------


def latency_figures(sources: Sequence[Source]) -> list[Figure]:
    """One figure of all percentiles; and one distribution for each latency whose histogram was kept."""
    found = [figure for figure in (percentiles(sources),) if figure]
    names = dict.fromkeys(name for source in sources for name in histograms(source))
    for name in list(names)[:MOST_LATENCIES]:
        said = f"Share of all {name} operations by how long they took; the time axis is logarithmic."
        found.append(Figure(f"latency-{name}", f"{name}: distribution", said, distribution(name, sources)))
    return found


def histograms(source: Source) -> dict[str, list[tuple[float, float, float]]]:
    """Latency -> [(low ns, high ns, count)] of those that were kept, and are sound."""
    kept = source.get("histograms").get("latency")
    found = {}
    for name, row in kept.items() if isinstance(kept, dict) else ():
        buckets = row.get("buckets") if isinstance(row, dict) else None
        cells = [tuple(part) for part in buckets or () if isinstance(part, (list, tuple)) and len(part) == 3]
        if cells and all(number(value) is not None and value >= 0 for cell in cells for value in cell):
            found[name] = cells
    return found


def distribution(name: str, sources: Sequence[Source]) -> Callable[[Any], None]:
    """Draw one latency of all runs, as steps."""

    def draw(axes: Any) -> None:
        for place, source in enumerate(sources):
            buckets = histograms(source).get(name)
            if not buckets:
                continue
            total = sum(each for _, _, each in buckets) or 1
            edges = [max(low, 1) for low, _, _ in buckets] + [max(buckets[-1][1], 2)]
            shares = [100 * each / total for _, _, each in buckets]
            axes.stairs(shares, edges, label=source.label, linestyle=STYLES[place % len(STYLES)], linewidth=1.4)
        log_scale(axes.xaxis, time_label)
        axes.set_ylabel("% of operations, by bucket")
        legend(axes, sources)

    return draw


def percentiles(sources: Sequence[Source]) -> Figure | None:
    """All latencies of all runs: from the median to the longest, on a logarithmic axis."""
    rows = []
    for source in sources:
        for name, row in source.get("latency").items():
            known = (number(row.get(key)) for key in PERCENTILES) if isinstance(row, dict) else ()
            values = [value for value in known if value is not None]
            if len(values) == len(PERCENTILES):
                rows.append((name if len(sources) == 1 else f"{name}, {source.label}", values))
    rows = rows[: 4 * MOST_LATENCIES]
    if not rows:
        return None

    def draw(axes: Any) -> None:
        for place, (_, values) in enumerate(rows):
            shown = [max(value, 1.0) for value in values]
            axes.plot([shown[0], shown[-1]], [place, place], color="0.6", linewidth=1)
            for value, marker, colour in zip(shown, "|o>x", ("C0", "C0", "C1", "C3"), strict=True):
                axes.plot(value, place, marker=marker, color=colour, markersize=5)
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.invert_yaxis()
        log_scale(axes.xaxis, time_label)

    said = "From the median (|) over the 90th (o) and 99th (>) percentile to the longest (x); logarithmic."
    return Figure("latency", "Latencies", said, draw)


# --- several runs ---------------------------------------------------------------------------------


def scaling_figures(sources: Sequence[Source]) -> list[Figure]:
    """How times and interrupts grow with the number of CPUs, where runs differ in that."""
    by_cpus = [(cpus, source) for source in sources if (cpus := number(source.get("config").get("cpus")))]
    if len({cpus for cpus, _ in by_cpus}) < 2:
        return []
    found = []
    for name, title, figures in scaling_data(by_cpus):
        said = f"{title}, by the number of CPUs; both axes are logarithmic. A point is a run."
        found.append(Figure(f"scaling-{name}", f"{title} by CPUs", said, lines(figures, name)))
    return found


def scaling_data(
    by_cpus: Sequence[tuple[float, Source]],
) -> list[tuple[str, str, dict[str, list[tuple[float, float]]]]]:
    """(name, title, {series: [(cpus, value)]}) of what at least two CPU counts have."""
    elapsed: dict[str, list[tuple[float, float]]] = {}
    taken: dict[str, list[tuple[float, float]]] = {}
    medians: dict[str, list[tuple[float, float]]] = {}
    several = len({kind(source) for _, source in by_cpus}) > 1
    for cpus, source in sorted(by_cpus, key=lambda pair: pair[0]):
        which = kind(source) if several else str(source.document["workload"])
        add(elapsed, which, cpus, source.document.get("elapsed_ns"))
        calls = source.get("interrupts").get("CAL")
        if isinstance(calls, list) and all(number(value) is not None for value in calls):
            add(taken, which, cpus, sum(calls))
        for name, row in source.get("latency").items():
            if isinstance(row, dict):
                add(medians, f"{name}, {which}" if several else name, cpus, row.get("p50_ns"))
    whole = (
        ("elapsed_ns", "Wall time", elapsed),
        ("interrupts", "Call interrupts", taken),
        ("p50_ns", "Median", medians),
    )
    kept = [(n, t, {k: v for k, v in series.items() if len({c for c, _ in v}) > 1}) for n, t, series in whole]
    return [(name, title, series) for name, title, series in kept if series]


def kind(source: Source) -> str:
    """What a run is a run of, but for the number of CPUs: points of one kind are joined by a line."""
    config = source.get("config")
    parts = [str(source.document["workload"]), str(config.get("kernel", "")), str(config.get("ipi", ""))]
    return " ".join([*parts, *(f"{name}={new}" for name, _, new in changed(source))])


def add(series: dict[str, list[tuple[float, float]]], name: str, cpus: float, value: Any) -> None:
    """A point, if it has a place on a logarithmic axis."""
    figure = number(value)
    if figure is not None and figure > 0:
        series.setdefault(name, []).append((cpus, figure))


def lines(series: Mapping[str, Sequence[tuple[float, float]]], name: str) -> Callable[[Any], None]:
    """Draw lines over the number of CPUs."""

    def draw(axes: Any) -> None:
        for place, (label, points) in enumerate(list(series.items())[:MOST_LATENCIES]):
            marker = MARKERS[place % len(MARKERS)]
            axes.plot(*zip(*points, strict=True), marker=marker, markersize=4, label=label)
        axes.set_xscale("log", base=2)
        axes.set_xlabel("CPUs")
        axes.set_xticks(sorted({cpus for points in series.values() for cpus, _ in points}))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: "")
        log_scale(axes.yaxis, time_label if name.endswith("_ns") else count)
        if len(series) > 1:
            axes.legend(fontsize=6)

    return draw


# --- one run --------------------------------------------------------------------------------------


def interrupts(source: Source) -> Figure | None:
    """Call interrupts that each CPU took."""
    taken = source.get("interrupts").get("CAL")
    if not isinstance(taken, list) or len(taken) < 2 or not all(number(value) is not None for value in taken):
        return None

    def draw(axes: Any) -> None:
        axes.bar(range(len(taken)), taken, width=0.8 if len(taken) < MOST_CELLS else 1.0)
        axes.set_xlabel("CPU")
        axes.set_ylabel("CAL")

    said = "Call interrupts that each CPU took from boot to end, as /proc/interrupts counts them."
    return Figure(f"interrupts-{source.label}", f"Interrupts: {source.label}", said, draw)


def matrix(source: Source) -> Figure | None:
    """Who interrupted whom, as far as it was recorded."""
    found = events.matrix(source)
    if found is None:
        return None
    cpus = len(found.counts) - 1
    step = -(-(cpus + 1) // MOST_CELLS)

    def draw(axes: Any) -> None:
        import numpy as np
        from matplotlib.colors import LogNorm

        edges = np.arange(0, cpus + 1, step)
        folded = np.add.reduceat(np.add.reduceat(found.counts, edges, axis=0), edges, axis=1)
        shown = np.ma.masked_equal(folded, 0)
        box = (-1.5, cpus - 0.5, cpus - 0.5, -1.5)  # -1 is the coordinator
        picture = axes.imshow(shown, norm=LogNorm(1, max(2, folded.max())), cmap="viridis", extent=box, aspect="equal")
        bar = axes.figure.colorbar(picture, ax=axes, label="vectors raised", shrink=0.8)
        log_labels(bar.ax.yaxis, count)
        axes.set_xlabel("interrupted CPU (-1: coordinator)")
        axes.set_ylabel("by CPU")
        axes.grid(visible=False)

    lost = f" {found.dropped} older records were overwritten: it is the end of the run." if found.dropped else ""
    said = f"Rows interrupt columns: {found.raised} vectors raised, by sender and target; logarithmic.{lost}"
    return Figure(f"matrix-{source.label}", f"Who interrupted whom: {source.label}", said, draw)


def timeline(source: Source) -> Figure | None:
    """When the named locks were held, by whom, and waited for."""
    found = events.timeline(source)
    if found is None:
        return None
    names = list(dict.fromkeys(each.lock for each in found.intervals))

    def draw(axes: Any) -> None:
        from matplotlib import colormaps

        colours: Any = colormaps["tab20"](range(20))
        for place, name in enumerate(names):
            held = [each for each in found.intervals if each.lock == name and not each.waited]
            waits = [each for each in found.intervals if each.lock == name and each.waited]
            for chosen, low, height in ((held, place - 0.4, 0.5), (waits, place + 0.12, 0.25)):
                bars = [(each.begin / 1e6, max((each.end - each.begin) / 1e6, 1e-6)) for each in chosen]
                shades = [colours[(each.cpu + 1) % len(colours)] for each in chosen]
                axes.broken_barh(bars, (low, height), facecolors=shades)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("ms since boot")

    few = (
        f" The longest {len(found.intervals)} of {found.total} are shown." if found.total > len(found.intervals) else ""
    )
    said = f"Upper bars: held, lower and thinner ones: waited for; a colour is a CPU.{few}"
    return Figure(f"timeline-{source.label}", f"Locks over time: {source.label}", said, draw)


# --- axes -----------------------------------------------------------------------------------------


def log_scale(axis: Any, show: Callable[[float], str]) -> None:
    """A logarithmic axis, when everything is drawn."""
    (axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale)("log")
    log_labels(axis, show)


def log_labels(axis: Any, show: Callable[[float], str]) -> None:
    """Labels of a logarithmic axis: at 1, 2 and 5 where there are few decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axis.get_view_interval()
    narrow = high / max(low, 1e-300) < NARROW
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,), numticks=8))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: show(value)))


def time_label(value: float) -> str:
    """1000 -> 1 us."""
    figure, _, unit = nanoseconds(value).partition(" ")
    return f"{float(figure):g} {unit}"


def legend(axes: Any, sources: Sequence[Source]) -> None:
    """A legend, if there is anything to tell apart."""
    if len(sources) > 1:
        axes.legend(fontsize=6)
