"""A known number of drains: 23 times some of 7 CPUs hold one page each, then the coordinator drains.

The answer is known beforehand: with three holders 69 interrupts sent and 92
avoided, of 161; pcp_global_ipi_saved stays 0, since 3 is not less than 7/2.

example:
  emu run tests/workloads/prime_drains.py --holders 1,3,6 --json
"""

from cpus import page_faces as pages

DEFAULTS = {"cpus": 7, "kernel": "3.4", "memory": 64 << 20}
REASONS = ("empty", "offline", "self", "other")


def add_options(parser):
    parser.add_argument("--holders", default="1,3,6", help="CPUs, with commas between")


def run(ctx, args):
    with ctx.boot() as m:
        for _ in range(23):
            for cpu in map(int, args.holders.split(",")):
                # The coordinator has no lists, so exactly this page comes to the CPU's.
                pfn = m.call("page_alloc", 0, 0, pages.GFP_ATOMIC, on="coordinator")
                m.call("page_free", pfn, 0, on=cpu)
            m.call("drain_all_pages", -1, on="coordinator")
        found = m.vmstat()
        avoided = {why: found[f"ipis_avoided_{why}"] for why in REASONS}
        return {"sent": found["ipis_sent"], "avoided": avoided, "cal": m.interrupts()["CAL"]}


def render(result):
    avoided = sum(result["avoided"].values())
    return f"sent {result['sent']}, avoided {avoided}, of {result['sent'] + avoided}"
