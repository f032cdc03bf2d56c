"""The kernel's file formats, to the letter."""

from emu import procfs

ROWS = [
    procfs.SlabinfoRow("kmalloc-256", 1480, 1520, 256, 16, 1, 120, 60, 8, 95, 95, 60),
    procfs.SlabinfoRow("dentry", 20900, 21021, 192, 21, 1, 120, 60, 8, 1001, 1001, 0),
]


def test_interrupts():
    counts = {"CAL": [1069, 1192, 884, 903], "RES": [812, 655, 701, 590]}
    assert procfs.interrupts(counts) == (
        "           CPU0       CPU1       CPU2       CPU3       \n"
        "RES:        812        655        701        590   Rescheduling interrupts\n"
        "CAL:       1069       1192        884        903   Function call interrupts\n"
        "ERR:          0\n"
    )


def test_interrupts_as_the_script_of_thread_000_reads_them():
    text = procfs.interrupts({"CAL": [7, 8], "RES": [0, 0]})
    line = next(line for line in text.splitlines() if "Function call interrupts" in line)
    assert int(line.split()[1]) == 7


def test_interrupts_of_online_cpus_only():
    text = procfs.interrupts({"CAL": [1, 2, 3], "RES": [0, 0, 0]}, online=[0, 2])
    assert text.splitlines()[0] == "           CPU0       CPU2       "
    assert text.splitlines()[2] == "CAL:          1          3   Function call interrupts"


def test_interrupts_of_many_cpus_and_large_counts():
    text = procfs.interrupts({"CAL": [4294967295] * 1024})
    assert "CPU1023    " in text
    assert text.splitlines()[1].count("4294967295 ") == 1024


def test_slabinfo():
    text = procfs.slabinfo(ROWS)
    assert text == (
        "slabinfo - version: 2.1\n"
        "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> "
        "<batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n"
        "kmalloc-256         1480   1520    256   16    1 : tunables  120   60    8 : slabdata     95     95     60\n"
        "dentry             20900  21021    192   21    1 : tunables  120   60    8 : slabdata   1001   1001      0\n"
    )


def test_slabinfo_with_a_long_name():
    row = ROWS[0]._replace(name="a-cache-with-a-very-long-name")
    assert procfs.slabinfo_row(row).startswith("a-cache-with-a-very-long-name   1480 ")


def test_memcg_slabinfo_has_no_header_without_rows():
    assert procfs.memcg_slabinfo([]) == ""
    assert procfs.memcg_slabinfo(ROWS).startswith("slabinfo - version: 2.1\n# name")


def test_vmstat():
    counters = {
        "pcp_global_ipi_saved": 578,
        "pcp_global_drain": 627,
        "pgalloc_normal": 10,
        "pgfree": 9,
        "oom_kill": 0,
        "kicks": 3,
    }
    assert procfs.vmstat(counters) == (
        "pgalloc_normal 10\npgfree 9\noom_kill 0\npcp_global_drain 627\npcp_global_ipi_saved 578\n"
    )
