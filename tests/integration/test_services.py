"""The services that other tests build on really start, answer, and keep tests apart."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from kombu import Connection
from pydicom.data import get_testdata_file

from tests.services import Orthanc, Postgres, RabbitMQ, free_port, missing


def test_orthanc_keeps_an_instance_and_serves_it_over_dicomweb(orthanc: Orthanc) -> None:
    orthanc.post("/instances", Path(str(get_testdata_file("CT_small.dcm"))).read_bytes())
    assert len(orthanc.find_instances(Modality="CT", PatientID="1CT1")) == 1
    assert orthanc.get("/dicom-web/studies?PatientID=1CT1")


def test_orthanc_takes_extra_configuration_and_lua(start_orthanc: Callable[..., Orthanc], tmp_path: Path) -> None:
    script = tmp_path / "greeting.lua"
    script.write_text("print('a script of the test')")
    archive = start_orthanc(lua=[script], extra={"Name": "other"}, modalities={"node": ["NODE", "127.0.0.1", 1]})
    assert archive.get("/system")["Name"] == "other"
    assert archive.get("/modalities") == ["node"]
    assert "a script of the test" in archive.log()


def test_rabbitmq_has_quorum_queues_and_virtual_hosts_that_know_nothing_of_each_other(rabbitmq: RabbitMQ) -> None:
    first, second = rabbitmq.fresh_url(), rabbitmq.fresh_url()
    with Connection(first) as one, Connection(second) as other:
        one.default_channel.queue_declare("work", durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
        one.default_channel.basic_publish(one.default_channel.prepare_message(b"wake"), "", "work")
        with pytest.raises(Exception, match="NOT_FOUND"):
            other.default_channel.queue_declare("work", passive=True)


def test_postgres_gives_every_test_an_empty_database(postgres: Postgres) -> None:
    for _ in range(2):
        url = postgres.fresh_url().replace("+psycopg", "")
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE studies (uid text)")


def test_a_free_port_can_be_bound() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))


def test_a_missing_service_skips_at_home_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "")
    with pytest.raises(pytest.skip.Exception, match="Debian package orthanc"):
        missing("Orthanc", "orthanc")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="Debian package orthanc"):
        missing("Orthanc", "orthanc")
