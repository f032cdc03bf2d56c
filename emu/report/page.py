"""The page: one file, nothing loaded from anywhere. Every text in it comes from a result and is escaped."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from emu import __version__
from emu.format import nanoseconds
from emu.report import draw, extract
from emu.report.source import Source

SECTIONS = (
    ("what", "What was run"),
    ("verdict", "Verdict"),
    ("result", "Result"),
    ("published", "Published"),
    ("latency", "Latency"),
    ("scaling", "Scaling"),
    ("locks", "Locks"),
    ("interrupts", "Interrupts"),
    ("ledger", "Sent and avoided"),
    ("again", "Repeat"),
)
LONGEST_TITLE = 100


def html(sources: Sequence[Source]) -> str:
    """The whole page."""
    import jinja2

    text = resources.files("emu.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=False)
    figures = draw.all_figures(sources)
    runs, labels = [run(source) for source in sources], [source.label for source in sources]
    results = [each["result"] for each in runs]
    # Runs of one workload have the same figures: they are read side by side.
    together = extract.beside(labels, [each[0] for each in results]) if extract.are_pairs(results) else None
    return environment.from_string(text).render(
        version=__version__,
        title=title(sources),
        sections=SECTIONS,
        runs=runs,
        configuration=extract.beside(labels, [extract.configuration(source) for source in sources]),
        host=extract.beside(labels, [extract.host(source) for source in sources]),
        together=together,
        pictures=[picture(figure) for figure in figures],
        recorded=any(figure.name.startswith("matrix-") for figure in figures),
    )


def title(sources: Sequence[Source]) -> str:
    """Workloads, and how many runs."""
    names = ", ".join(dict.fromkeys(str(source.document["workload"]) for source in sources))
    return f"{names[:LONGEST_TITLE]}: {'1 run' if len(sources) == 1 else f'{len(sources)} runs'}"


def run(source: Source) -> dict[str, Any]:
    """What the template needs of one run."""
    document = source.document
    violations = document.get("violations")
    return {
        "label": source.label,
        "verdict": str(document["verdict"]),
        "summary": summary(source),
        "command": str(document["command"]),
        "violations": [
            {key: str(row.get(key, "")) for key in ("invariant", "text")}
            for row in (violations if isinstance(violations, list) else ())
            if isinstance(row, Mapping)
        ],
        "warnings": [*source.warnings, *texts(document.get("warnings"))],
        "result": extract.result_tables(source),
        "published": extract.published(source),
        "latency": filled(extract.latencies(source)),
        "locks": filled(extract.locks(source)),
        "ledger": extract.ledger(source),
        "again": extract.again(source),
    }


def filled(table: extract.Table) -> list[extract.Table]:
    """The table, if it has rows."""
    return [table] if table.rows else []


def texts(value: Any) -> list[str]:
    """A list of texts, or an empty one."""
    return [str(item) for item in value] if isinstance(value, list) else []


def summary(source: Source) -> str:
    """Configuration and length in one line."""
    config, elapsed = source.get("config"), extract.number(source.document.get("elapsed_ns"))
    parts = [
        f"{config.get('cpus', '?')} CPUs",
        f"Linux {config.get('kernel', '?')}",
        str(config.get("allocator", "?")),
        str(config.get("ipi", "?")),
        f"seed {source.document.get('seed', '?')}",
        *([nanoseconds(elapsed)] if elapsed is not None else []),
        *(f"{name}={new}" for name, _, new in extract.changed(source)),
    ]
    return ", ".join(parts)


def picture(figure: draw.Figure) -> dict[str, str]:
    """A figure as the template shows it."""
    data = base64.b64encode(draw.render(figure)).decode("ascii")
    return {"name": figure.name, "title": figure.title, "said": figure.said, "data": data}
