"""Clusters and machines that are not as a model needs them are mistakes that say so."""

from __future__ import annotations

import socket
import time
from typing import Any
from unittest.mock import Mock

import pytest
from tests.pieces import counter, gpu_teller
from tests.ray_clusters import local_cluster

from palimpsest.engines import make_engine, n_cores
from palimpsest.engines.crew import Crew
from palimpsest.engines.local import ProcessStaff, gpus_of, visible_gpus
from palimpsest.engines.ray_cluster import ActorStaff, _knock, _no_cluster
from palimpsest.errors import UserError


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nobody_listens_is_told_at_once(scheme: str) -> None:
    with socket.socket() as taken:  # bound and not listening
        taken.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{taken.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(UserError, match=r"No Ray cluster answers at .*refused\n.*ray start"):
            _knock(address)
        assert time.monotonic() - started < 5


def test_other_addresses_are_left_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    knocked: list[object] = []
    monkeypatch.setattr(socket, "create_connection", lambda *given, **_: knocked.append(given))
    for address in ("auto", "local", "anyscale://cluster"):
        _knock(address)
    assert not knocked


def test_the_client_of_ray_without_its_packages_is_a_mistake_that_names_the_extra() -> None:
    said = ValueError("Ray Client requires pip package `ray[client]`. If you installed the minimal")
    assert "pip install 'ray" in str(_no_cluster("ray://head:10001", said))


class LostRay:
    """A cluster that has gone, seen through Ray's client."""

    class exceptions:  # noqa: N801
        RayError = RuntimeError

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2}

    def nodes(self) -> list[dict[str, Any]]:
        return []

    def remote(self, **_: Any) -> Any:
        return lambda _: Mock()

    def wait(self, *_: Any, **__: Any) -> Any:
        raise ConnectionError("Client is shutting down.")

    get = kill = wait


def test_a_cluster_that_goes_is_told_and_its_workers_are_not_waited_for() -> None:
    crew = Crew(ActorStaff(LostRay(), gpu_teller, 2))
    crew.submit("anything")
    with pytest.raises(UserError, match=r"does not answer any more: .*down\.\n.*continues"):
        list(crew.events())
    crew.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own, of several kinds
def test_workers_for_whom_a_cluster_has_no_place_are_told_of_once_and_the_others_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("ray", reason="needs the package ray")
    ended = set()
    with local_cluster({"num_cpus": 1}) as cluster:
        engine: Any = make_engine("ray", workers=2, address=cluster.address)
        crew = engine.crew(counter)
        try:
            for piece in ("a", "slowly", "b"):
                crew.submit(piece)
            for event in crew.events():
                if event.kind == "done":
                    ended.add(event.piece)
                    monkeypatch.setattr("palimpsest.engines.ray_cluster._PLACE_SECONDS", 1.0)
                    time.sleep(1.0)
        finally:
            crew.close()
            engine.close()
    assert ended == {0, 1, 2}
    [told] = [record.getMessage() for record in caplog.records if "not begun" in record.message]
    assert told.startswith("1 of 2 workers have not begun after 1 s.")
    assert "has 0 cores and 0 GPUs free" in told
    assert "the others work meanwhile" in told


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own, of several kinds
def test_other_releases_on_the_cluster_are_named() -> None:
    utils: Any = pytest.importorskip("ray._private.utils", reason="needs the package ray")
    with pytest.raises(RuntimeError) as caught:
        utils.check_version_info({"ray_version": "2.1.0", "python_version": "3.9.1"}, "here")
    said = str(_no_cluster("ray://head:10001", caught.value))
    assert "has other releases than this process" in said
    assert "2.1.0" in said
    assert "3.9.1" in said
    assert said.endswith("on all of its machines.")


def test_gpus_are_those_that_may_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-ab ,5")
    assert visible_gpus() == ["3", "GPU-ab", "5"]
    assert gpus_of(1, 2, visible_gpus()) == "GPU-ab"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert visible_gpus() == ["0", "1"]


def test_a_model_that_needs_more_gpus_than_a_worker_has_is_a_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    staff = ProcessStaff(gpu_teller, 2)
    staff.need(2)
    with pytest.raises(UserError, match=r"needs 4 GPUs for each.* 2 for each of 2\.\n.*workers 1"):
        staff.need(4)
    with pytest.raises(UserError, match=r"needs 8 GPUs, and this machine has 4\.\n.*--engine ray"):
        staff.need(8)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own, of several kinds
def test_a_worker_of_ray_has_all_gpus_that_the_model_needs_and_its_successor_the_same() -> None:
    ray: Any = pytest.importorskip("ray", reason="needs the package ray")
    with local_cluster({"num_cpus": 2, "num_gpus": 4}) as cluster:
        engine: Any = make_engine("ray", workers=2, address=cluster.address)
        crew = engine.crew(gpu_teller)
        try:
            crew.need(2)
            for piece in ("a", "die", "b", "c"):
                crew.submit(piece)
            told = {event.value for event in crew.events() if event.kind == "part"}
            assert all(len(gpus.split(",")) == 2 for _, gpus in told)
            assert len({gpus for _, gpus in told}) <= 2
            with pytest.raises(UserError, match="needs 5 GPUs on one machine"):
                crew.need(5)
        finally:
            crew.close()
            groups = ray.util.placement_group_table().values()
            engine.close()
    assert len(groups) == 2
    assert all(each["strategy"] == "STRICT_PACK" for each in groups)
    assert all(each["state"] == "REMOVED" for each in groups)


class FakeRay:
    """A cluster of which only the resources are asked."""

    def __init__(self, *gpus: int) -> None:
        self._gpus = gpus

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 16, "GPU": sum(self._gpus)}

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"GPU": each}} for each in self._gpus] + [
            {"Alive": False, "Resources": {"GPU": 64}}
        ]


def test_gpus_of_several_machines_are_not_those_of_one() -> None:
    with pytest.raises(UserError, match=r"needs 8 GPUs on one machine, .* more than 4\."):
        ActorStaff(FakeRay(4, 4, 4), gpu_teller, 1).need(8)
    ActorStaff(FakeRay(4, 4, 4), gpu_teller, 1).need(4)
    with pytest.raises(UserError, match=r"no machine of the Ray cluster has more than 0\.\nAdd a"):
        ActorStaff(FakeRay(0), gpu_teller, 1).need(2)


def test_without_a_number_there_is_a_worker_for_each_gpu_or_each_share_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4,5,6,7")
    staff: Any
    for staff in (ProcessStaff(gpu_teller), ActorStaff(FakeRay(4, 4), gpu_teller)):
        assert staff.n_workers == 8
        staff.need(3)
        assert staff.n_workers == 2
    assert ActorStaff(FakeRay(), gpu_teller).n_workers == 16
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert ProcessStaff(gpu_teller).n_workers == n_cores()


def test_a_cluster_without_a_core_for_a_worker_is_a_mistake() -> None:
    class Empty(FakeRay):
        def cluster_resources(self) -> dict[str, float]:
            return {"memory": 1e9}

    with pytest.raises(UserError, match=r"no core for a worker.*\n.*ray start --address"):
        ActorStaff(Empty(), gpu_teller)
