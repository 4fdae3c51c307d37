"""Log lines: one JSON object each, whatever is in them, and no secrets."""

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy.exc import IntegrityError

from app.config import Settings
from app.db.database import Database
from app.kernel.tenant import Tenant
from app.observability.access_log import AccessLog
from app.observability.logs import JsonFormatter, TextFormatter, configuration
from tests.conftest import ROOT, new_slug, running_server

HOSTILE = 'x\n{"level": "error"}\r\x1b[2K\u2028\x85\ud800"'


def _record(message: str, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("some.where", logging.WARNING, __file__, 1, message, (), info)


class TestLines:
    def test_json_holds_anything_in_one_line(self) -> None:
        line = JsonFormatter().format(_record(HOSTILE))
        assert len(line.splitlines()) == 1 or "\n" not in line
        assert "\x1b" not in line
        read = json.loads(line)
        assert read["message"].startswith('x\n{"level": "error"}\r\x1b[2K')
        assert (read["level"], read["logger"]) == ("warning", "some.where")

    def test_text_holds_anything_in_one_line(self) -> None:
        line = TextFormatter().format(_record(HOSTILE))
        assert len(line.splitlines()) == 1
        assert "\x1b" not in line

    def test_an_error_has_its_traceback(self) -> None:
        try:
            raise ValueError(HOSTILE)
        except ValueError as error:
            record = _record("it failed", error)
        read = json.loads(JsonFormatter().format(record))
        assert read["error"] == "ValueError"
        assert "test_an_error_has_its_traceback" in read["traceback"]

    async def test_what_was_on_its_way_to_postgres_is_not_told(
        self, database: Database, tenant: Tenant
    ) -> None:
        values = {"tenant": tenant.id, "name": "A SECRET"}
        twice = (
            "INSERT INTO experiments (tenant_id, experiment_id, name, creation_time,"
            " last_update_time) SELECT %(tenant)s, i, %(name)s, 0, 0 FROM generate_series(1, 2) i"
        )
        no_name = (
            "INSERT INTO experiments (tenant_id, experiment_id, artifact_location)"
            " VALUES (%(tenant)s, 1, %(name)s)"
        )
        for statement in (twice, no_name):
            with pytest.raises(IntegrityError, match="A SECRET") as by_sqlalchemy:
                async with database.write(tenant) as connection:
                    await connection.exec_driver_sql(statement, values)
            with pytest.raises(psycopg.IntegrityError) as by_psycopg:
                async with database.write_pipeline(tenant) as raw:
                    await raw.execute(statement, values)
            for error in (by_sqlalchemy.value, by_psycopg.value):
                for formatter in (JsonFormatter(), TextFormatter()):
                    line = formatter.format(_record("it failed", error))
                    assert "A SECRET" not in line
                    assert "violates" in line

    @pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
    def test_the_configuration_is_one(self, level: str) -> None:
        """logging.config takes it as it stands, in the process itself and in uvicorn's workers."""
        code = (
            "import logging, logging.config, sys\n"
            f"logging.config.dictConfig({configuration('json', level)!r})\n"
            "logging.getLogger('anything').error('said')\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert json.loads(done.stderr)["message"] == "said"


class TestAccessLog:
    def _lines(self, log: AccessLog, read: int, count: int = 1) -> list[dict[str, Any]]:
        log.start()
        for number in range(count):
            log.add(
                request_id=f"id-{number}",
                method="GET",
                route="/health",
                status=200,
                seconds=0.0015,
                size=15,
                tenant="acme-corp",
                caller="trk_acme-corp_1f0c63a9be52",
            )
        log.close()
        os.set_blocking(read, False)
        text = b""
        while chunk := _read(read):
            text += chunk
        return [json.loads(line) for line in text.splitlines()]

    def test_a_line_is_json(self) -> None:
        read, write = os.pipe()
        (line,) = self._lines(AccessLog("all", "json", slow=1, fd=write), read)
        assert line.pop("time")
        assert line == {
            "level": "info",
            "logger": "tracking.access",
            "message": "request",
            "request_id": "id-0",
            "method": "GET",
            "route": "/health",
            "status": 200,
            "duration_ms": 1.5,
            "bytes": 15,
            "tenant": "acme-corp",
            "caller": "trk_acme-corp_1f0c63a9be52",
        }

    def test_none_is_lost_and_none_is_torn(self) -> None:
        read, write = os.pipe()
        lines = self._lines(AccessLog("all", "json", slow=1, fd=write), read, count=200)
        assert [line["request_id"] for line in lines] == [f"id-{n}" for n in range(200)]

    def test_a_reader_that_is_gone_stops_nothing(self) -> None:
        read, write = os.pipe()
        os.close(read)
        log = AccessLog("all", "json", slow=1, fd=write)
        threads = threading.active_count()
        log.start()
        for number in range(3):
            log.add(
                request_id=str(number),
                method="GET",
                route="/",
                status=200,
                seconds=0,
                size=0,
                tenant=None,
                caller=None,
            )
        log.close()
        assert threading.active_count() == threads

    def test_which_are_notable(self) -> None:
        log = AccessLog("notable", "json", slow=1.0)
        told = [
            (status, seconds)
            for status in (200, 204, 304, 400, 401, 403, 404, 409, 422, 429, 499, 500, 503)
            for seconds in (0.1, 1.0)
            if log.includes(status, seconds)
        ]
        quick = [status for status, seconds in told if seconds == 0.1]
        assert quick == [401, 403, 429, 500, 503]
        assert len([one for one in told if one[1] == 1.0]) == 13

    def test_none_when_off(self) -> None:
        log = AccessLog("off", "json", slow=1.0)
        assert not [status for status in (200, 401, 500) if log.includes(status, 9.0)]


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return b""


class TestAlembicsLog:
    def test_has_the_same_format(self, settings: Settings) -> None:
        environment = os.environ | {
            "TRACKING_MIGRATION_DATABASE_URL": settings.migration_database_url or "",
            "TRACKING_DATABASE_URL": settings.database_url or "",
            "TRACKING_LOG_FORMAT": "json",
        }
        done = subprocess.run(
            [sys.executable, "-m", "alembic", "current"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        assert {line["logger"] for line in lines} == {"alembic.runtime.migration"}


class TestTheServersLog:
    def test_every_line_is_json_and_none_has_a_secret(
        self, settings: Settings, tmp_path: Path
    ) -> None:
        assert settings.database_url
        log = tmp_path / "log"
        secret = "trk_acme_1f0c63a9be52_SECRETSECRETSECRET"
        slug = new_slug()
        environment = {
            "TRACKING_DATABASE_URL": settings.database_url,
            "TRACKING_MIGRATION_DATABASE_URL": settings.migration_database_url or "",
            "TRACKING_DATA_DIR": str(tmp_path),
            "TRACKING_LOG_REQUESTS": "all",
            "TRACKING_LOG_FORMAT": "json",
        }
        with running_server(environment, log) as (url, _), httpx.Client(base_url=url) as client:
            created = client.post(
                f"/t/{slug}/api/2.0/mlflow/runs/create",
                json={"experiment_id": "0", "tags": [{"key": "k", "value": "IN-THE-BODY"}]},
                headers={"Authorization": f"Bearer {secret}", "X-Request-ID": "the-creation"},
            )
            assert created.status_code == 200
            assert "server" not in created.headers
            client.get(f"/t/{slug}/api/v1/experiments", params={"search": "IN-THE-QUERY"})
            client.get("/%0a%7b%22level%22:%22error%22%7d", headers={"X-Request-ID": "a\tb"})
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert lines
        (creation,) = (one for one in lines if one.get("request_id") == "the-creation")
        assert creation["route"] == "/api/2.0/mlflow/runs/create"
        assert (creation["tenant"], creation["status"]) == (slug, 200)
        assert (creation["method"], creation["level"]) == ("POST", "info")
        assert creation["bytes"] == len(created.content)
        text = log.read_text()
        for hidden in (secret, "SECRET", "IN-THE-BODY", "IN-THE-QUERY"):
            assert hidden not in text
        assert {one["level"] for one in lines} == {"info"}
