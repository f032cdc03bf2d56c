"""The table of switches, and what versions and options come to."""

import pytest

from buildtools import switches as generator
from cpus.patch_table import BY_NAME, FIRST_INDEX, SWITCHES
from emu import patches
from emu.errors import NotSupportedError, UsageError

# (switch, last version before the boundary, its value, first version after it, its value)
BOUNDARIES = [
    ("slab-create-no-ipi", "4.11", "off", "4.12", "on"),
    ("shrink-slab-mutex", "3.15", "on", "3.16", "off"),
    ("drain-shared-locked", "4.6", "off", "4.7", "on"),
    ("bad-alien-magic", "4.6", "on", "4.7", "off"),
    ("drain-free-slabs", "4.6", "estimate", "4.7", "all"),
    ("node-setup", "4.6", "off", "4.7", "on"),
    ("free-limit-at-end", "4.6", "off", "4.7", "on"),
    ("racy-colour", "4.6", "off", "4.7", "on"),
    ("grow-any-node", "4.6", "off", "4.7", "on"),
    ("grow-in-two", "4.6", "off", "4.7", "on"),
    ("refill-private-slab", "4.6", "off", "4.7", "on"),
    ("lockless-grow", "4.6", "off", "4.7", "on"),
    ("shared-array-free", "4.6", "none", "4.7", "sync"),
    ("shared-array-free", "4.8", "sync", "4.9", "sync-if-old"),
    ("array-swap", "3.17", "on-each-cpu", "3.18", "percpu-kick"),
    ("memcg-create-wq", "4.9", "system", "4.10", "ordered"),
    ("memcg-create-wq", "4.10", "ordered", "4.11", "percpu"),
    ("call-multicast", "4.13", "always", "4.14", "if-queue-empty"),
    ("slub-flush", "3.3", "all", "3.4", "cond"),
    ("bh-lru-flush", "3.3", "all", "3.4", "cond"),
    ("pcp-drain", "3.3", "all", "3.4", "mask-merged"),
    ("pcp-drain", "4.10", "mask-merged", "4.11", "workqueue"),
    ("pcp-drain", "5.19", "workqueue", "6.0", "remote"),
    ("pcp-order", "4.3", "movable-last", "4.4", "movable-second"),
    ("pcp-batch", "4.18", "512k", "4.19", "1m"),
    ("dead-caches", "3.19", "none", "4.0", "kick"),
    ("dead-caches", "4.6", "kick", "4.7", "sync-under-mutex"),
    ("dead-caches", "4.9", "sync-under-mutex", "4.10", "sync-once-outside"),
    ("dead-caches", "4.10", "sync-once-outside", "4.11", "call-rcu"),
    ("release-barrier", "3.19", "per-call", "4.0", "per-memcg"),
    ("release-barrier", "4.10", "per-memcg", "4.11", "async-batched"),
    ("memcg-cache-lists", "4.10", "all", "4.11", "own"),
]


@pytest.mark.parametrize(("name", "before", "old", "after", "new"), BOUNDARIES)
def test_boundary(name, before, old, after, new):
    assert patches.resolve(before, "slub")[name] == old
    assert patches.resolve(after, "slub")[name] == new


def test_every_boundary_of_the_table_is_tested():
    listed = {(name, after) for name, _, _, after, _ in BOUNDARIES}
    assert listed == {(s.name, first) for s in SWITCHES for first, _ in s.defaults[1:]}


def test_a_stable_release_is_as_its_version():
    assert patches.resolve("4.11.12") == patches.resolve("4.11")


def test_node_init_is_never_stuck_by_default():
    assert {patches.defaults(v)["node-init"] for v in ("3.0", "4.6", "4.7", "6.12")} == {"merged"}


def test_table_is_consistent():
    assert len(BY_NAME) == len(SWITCHES)
    assert sorted(s.series for s in SWITCHES if s.series) == list(range(1, 12))
    for switch in SWITCHES:
        names = [v.name for v in switch.values]
        assert len(set(names)) == len(names)
        assert {value for _, value in switch.defaults} | {switch.applied, switch.reverted} <= set(names)
        if set(names) == {"off", "on"}:
            assert names == ["off", "on"]
        assert switch.defaults[0][0] == "3.0"
        assert switch.thread in {"000", "001", "002", "003", "004"}
        assert {v.safe for v in switch.values} <= {"yes", "no", "explorer-only"}
        versions = [patches.parse_version(first) for first, _ in switch.defaults]
        assert versions == sorted(versions)


def test_generated_constants():
    text = generator.render()
    assert "Generated" in text.splitlines()[0]
    assert (
        f"    SLAB_CREATE_NO_IPI = {FIRST_INDEX}\n    SLAB_CREATE_NO_IPI_OFF = 0\n    SLAB_CREATE_NO_IPI_ON = 1\n"
        in text
    )
    assert "    PCP_DRAIN_MASK_V6 = 1\n" in text


def test_generated_file_is_left_alone_when_unchanged(tmp_path):
    path = tmp_path / "switches.pxd"
    generator.generate(path)
    before = path.stat().st_mtime_ns
    generator.generate(path)
    assert path.stat().st_mtime_ns == before


def test_switch_bytes():
    found = patches.switch_bytes(patches.resolve("4.12"))
    assert len(found) == len(SWITCHES)
    assert found[FIRST_INDEX] == 1
    index = FIRST_INDEX + [s.name for s in SWITCHES].index("pcp-drain")
    assert found[index] == [v.name for v in BY_NAME["pcp-drain"].values].index("workqueue")


def test_patch_and_revert():
    values = patches.resolve("4.11", patch=["slab-create-no-ipi", "pcp-drain=mask-v6"], revert=["dead-caches"])
    assert values["slab-create-no-ipi"] == "on"
    assert values["pcp-drain"] == "mask-v6"
    assert values["dead-caches"] == "none"


@pytest.mark.parametrize("number", range(12))
def test_series(number):
    for kernel in ("4.4", "4.12"):
        values = patches.resolve(kernel, series=number)
        for switch in SWITCHES:
            if switch.series:
                assert values[switch.name] == (switch.applied if switch.series <= number else switch.reverted)
        assert (values["shared-array-free"] == "none") == (number < 11)
        assert "no" not in {row.safe for row in patches.unsafe(values) if row.switch == "shared-array-free"}


def test_refill_implies_grow_in_two():
    assert patches.resolve("4.4", patch=["refill-private-slab"])["grow-in-two"] == "on"
    with pytest.raises(UsageError, match="revert refill-private-slab"):
        patches.resolve("4.12", revert=["grow-in-two"])
    values = patches.resolve("4.12", revert=["grow-in-two", "refill-private-slab"])
    assert (values["grow-in-two"], values["refill-private-slab"]) == ("off", "off")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"patch": ["slab-create-noipi"]}, "did you mean 'slab-create-no-ipi'"),
        ({"patch": ["pcp_drain"]}, "did you mean 'pcp-drain'"),
        ({"patch": ["pcp-drain=mask-mutx"]}, "did you mean 'mask-mutex'"),
        ({"patch": ["pcp-drain=x"]}, "but all, mask-v6"),
        ({"patch": ["pcp-drain="]}, "no value ''"),
        ({"revert": ["nothing-at-all"]}, "`emu patches` lists them"),
        ({"patch": ["dead-caches"], "revert": ["dead-caches"]}, "contradicts"),
        ({"patch": ["pcp-drain=all", "pcp-drain=remote"]}, "contradicts"),
        ({"series": 12}, "0 to 11"),
        ({"series": -1}, "0 to 11"),
    ],
)
def test_refused(options, words):
    with pytest.raises(UsageError) as caught:
        patches.resolve("4.12", **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "version", [4.1, 4, None, "", "4", "4.x", "v4.12", "4.12-rc1", "4.09", "4.21", "3.20", "4.1.2.3"]
)
def test_no_version(version):
    with pytest.raises(UsageError):
        patches.check_kernel(version)


def test_unquoted_version_is_explained():
    with pytest.raises(UsageError, match=r"unquoted 4\.10 is the number 4\.1"):
        patches.parse_version(4.10)


@pytest.mark.parametrize(
    ("version", "allocator"),
    [("2.6", "slab"), ("6.8", "slab"), ("6.12", "slab"), ("6.13", "slub"), ("7.0", "slub"), ("6.13", "slab")],
)
def test_version_not_modelled(version, allocator):
    with pytest.raises(NotSupportedError):
        patches.check_kernel(version, allocator)


@pytest.mark.parametrize(
    ("version", "allocator"), [("3.0", "slab"), ("6.7", "slab"), ("6.7.9", "slab"), ("6.12", "slub")]
)
def test_version_modelled(version, allocator):
    patches.check_kernel(version, allocator)


def test_memcg_caches():
    for version in ("3.8", "4.12", "5.8", "5.8.18"):
        patches.require_memcg_caches(version)
    for version in ("3.0", "3.7", "5.9", "6.12"):
        with pytest.raises(NotSupportedError, match=r"3\.8 to 5\.8"):
            patches.require_memcg_caches(version)


def test_safety_looks_at_all_switches_together():
    def names(kernel, **options):
        return {row.switch for row in patches.unsafe(patches.resolve(kernel, **options))}

    # The race of thread 002 needs a shrink without slab_mutex (since 3.16) that reads the pointer without the lock.
    assert "drain-shared-locked" not in names("3.15")
    assert "drain-shared-locked" in names("3.16")
    assert "drain-shared-locked" not in names("4.4", patch=["shrink-slab-mutex"])
    assert "drain-shared-locked" not in names("4.7")
    # Nobody reads the shared array without a lock unless growing is decided so.
    assert "shared-array-free" not in names("4.4")
    assert "shared-array-free" in names("4.4", patch=["lockless-grow"])
    assert not names("4.12")
    assert patches.safety(patches.resolve("4.4")) == "no"
    assert patches.safety(patches.resolve("4.4"), ["pcp-drain"]) == "explorer-only"
    assert patches.safety(patches.resolve("4.12")) == "yes"
