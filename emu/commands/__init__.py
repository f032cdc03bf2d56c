"""The commands, one file each. A command module has parser() -> Parser and main(argv) -> exit code."""

# Name -> what it does, in one line. A command's module is emu.commands.NAME, imported when it is called.
COMMANDS: dict[str, str] = {
    "run": "run a workload on an emulated machine",
    "monitor": "watch a running machine",
    "compare": "what a patch or option changes: interleaved runs, or stored ones",
    "sweep": "run a grid of configurations; continues where it was stopped",
    "runs": "the runs that were kept",
    "show": "a kept run: its result, IPI ledger, or a failed machine's slabs",
    "again": "repeat a kept run with the same seed and switches",
    "export": "a run as a Perfetto or Chrome trace, ftrace text, CSV, Parquet, HDR",
    "report": "one offline HTML page about runs",
    "plot": "one figure of runs, as SVG or PNG",
    "list": "the workloads there are",
    "patches": "the patches there are, or all about one of them",
    "kernel": "what a kernel version implies, or how two differ",
    "explain": "what a counter, lock, latency or key of a result means",
    "record": "record a trace of this host's allocations, for replay",
    "doctor": "what this host offers, and what to do about the rest",
    "completion": "the completion script of a shell, or the man page",
    "cleanup": "remove what a killed run may have left behind",
}
