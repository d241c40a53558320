"""Free memory: what a container leaves of its limit, and what the kernel reports."""

from esr_cli.base import available


def test_a_cgroup_leaves_its_limit_less_what_cannot_be_reclaimed(tmp_path):
    assert available.left_bytes(tmp_path) is None
    (tmp_path / "memory.max").write_text("max\n")
    assert available.left_bytes(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 300\nactive_file 50\n")
    assert available.left_bytes(tmp_path) == 400


def test_free_memory_is_less_than_all_of_it():
    assert 0 < available.free_gib() < available.total_gib()
