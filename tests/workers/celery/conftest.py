"""The clusters of pytest-celery, made of this machine's processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_celery import (
    CeleryBackendCluster,
    CeleryBrokerCluster,
    CeleryTestWorker,
    CeleryWorkerCluster,
    RedisTestBackend,
    RedisTestBroker,
)

from core.settings import Settings
from tests.support.doors import settings_in
from tests.support.valkey import Valkey, running_valkey
from tests.workers.celery.local import (
    LocalResults,
    LocalStore,
    LocalWorker,
    Setup,
    StoreProcess,
    WorkerProcess,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Valkey]:
    with running_valkey(tmp_path / "store") as server:
        yield server


@pytest.fixture
def settings(tmp_path: Path, store: Valkey) -> Settings:
    return settings_in(tmp_path, store.url)


@pytest.fixture
def celery_setup_cls() -> type[Setup]:
    return Setup


@pytest.fixture
def celery_broker_cluster(store: Valkey) -> CeleryBrokerCluster:
    return CeleryBrokerCluster(RedisTestBroker(LocalStore(StoreProcess(store))))


@pytest.fixture
def celery_backend_cluster(store: Valkey) -> CeleryBackendCluster:
    return CeleryBackendCluster(RedisTestBackend(LocalResults(StoreProcess(store))))


@pytest.fixture
def celery_worker_cluster(settings: Settings) -> Iterator[CeleryWorkerCluster]:
    process = WorkerProcess(settings)
    process.start()
    try:
        yield CeleryWorkerCluster(CeleryTestWorker(LocalWorker(process), app=None))
    finally:
        process.kill()
