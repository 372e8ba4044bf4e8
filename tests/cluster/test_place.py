"""Where a search runs, and what is said about it."""

import socket

import pytest

from ucluster_tune.cluster.place import choose_place
from ucluster_tune.errors import MachineError


@pytest.fixture(autouse=True)
def no_ray_here(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def head():
    """The address of something that listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def ray_here(tmp_path, head):
    """As `ray start --head` leaves it."""
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(f"{head}\n")
    return head


def test_without_any_cluster_the_process_starts_its_own():
    place = choose_place()
    assert place.address is None
    assert "no cluster was named" in place.why


def test_a_ray_that_runs_here_is_used_and_how_not_to_is_said(ray_here):
    place = choose_place()
    assert place.address == ray_here
    assert "--local" in place.why


def test_local_forces_this_machine_whatever_runs(ray_here, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", ray_here)
    assert choose_place(is_local=True).address is None


def test_the_environment_wins_over_what_runs_here(ray_here, head, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        place = choose_place()
        assert place.address == address
        assert "RAY_ADDRESS" in place.why
        assert choose_place(address=ray_here).address == ray_here


def test_the_file_of_a_ray_that_has_ended_is_not_believed(tmp_path):
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    assert choose_place().address is None


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "no Ray answers at 127.0.0.1:1"),
        ("nonsense", "no Ray answers at nonsense"),
        ("10.0.0.1:99999999", "no Ray answers"),
        ("ray://head:10001", "no host:port"),
        ("auto", "none does: start it with"),
    ],
)
def test_an_address_without_a_ray_is_refused_with_the_way_out(address, said):
    with pytest.raises(MachineError, match=said):
        choose_place(address=address)


def test_auto_is_the_ray_of_this_machine(ray_here):
    assert choose_place(address="auto").address == ray_here
