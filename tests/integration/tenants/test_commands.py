"""`tracking key …` and `tracking tenant …`, and the settings that `tracking serve` refuses."""

import os
import subprocess
from pathlib import Path

import pytest
from fastapi import FastAPI

from app.auth.credentials import ApiKeyText
from app.config import Settings
from app.db import roles
from app.kernel.tenant import Tenant
from tests.conftest import ROOT, Postgres
from tests.integration.conftest import bearer
from tests.support.processes import run_tracking

EXPERIMENTS = "/api/v1/experiments"


class Commands:
    """The command line, on the database of the tests."""

    def __init__(self, folder: Path, **settings: str) -> None:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("TRACKING_")
        }
        own = {"TRACKING_DATA_DIR": str(folder), "TRACKING_LOG_FORMAT": "text"}
        self._folder = folder
        self._env = kept | {"PYTHONPATH": str(ROOT)} | own | settings

    def run(self, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        return run_tracking(list(arguments), env=self._env | settings, cwd=self._folder)

    def output(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refusal(self, *arguments: str, **settings: str) -> str:
        done = self.run(*arguments, **settings)
        assert (done.returncode, done.stdout) == (1, "")
        assert "Traceback" not in done.stderr
        return done.stderr


@pytest.fixture
def commands(postgres: Postgres, tmp_path: Path) -> Commands:
    return Commands(
        tmp_path,
        TRACKING_DATABASE_URL=postgres.app_url,
        TRACKING_MIGRATION_DATABASE_URL=postgres.owner_url,
    )


@pytest.fixture
def slug(tenant: Tenant) -> str:
    return tenant.slug


class TestKeys:
    async def test_from_first_to_last(
        self, commands: Commands, keys_app: FastAPI, slug: str
    ) -> None:
        done = commands.run("key", "create", slug, "--role", "read", "--name", "me", "--days", "9")
        key = done.stdout.removesuffix("\n")
        parsed = ApiKeyText.parse(key)
        assert parsed is not None
        assert parsed.slug == slug
        assert "a key to read; it is not shown again" in done.stderr
        assert key not in done.stderr
        async with bearer(keys_app, key) as client:
            assert (await client.get(EXPERIMENTS)).status_code == 200

        listed = commands.output("key", "list", slug)
        columns = listed.removesuffix("\n").split("\t")
        assert columns[:3] == [parsed.key_id, "read", "active"]
        assert columns[-1] == "me"
        assert key not in listed

        rotated = commands.output("key", "rotate", slug, f"trk_{slug}_{parsed.key_id}").strip()
        async with bearer(keys_app, rotated) as client:
            assert (await client.get(EXPERIMENTS)).status_code == 200
        new = ApiKeyText.parse(rotated)
        assert new is not None
        done = commands.run("key", "revoke", slug, new.key_id)
        assert done.stderr == f"tracking: revoked trk_{slug}_{new.key_id}\n"
        states = [line.split("\t")[2] for line in commands.output("key", "list", slug).splitlines()]
        assert states == ["revoked", "revoked"]

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("create", "{slug}", "--role", "owner"), "must be one of read, write, admin"),
            (("create", "nobody-of-that-name"), "Tenant 'nobody-of-that-name' does not exist"),
            (("revoke", "{slug}", "0" * 12), "API key '000000000000' does not exist"),
        ],
    )
    def test_refused(
        self, commands: Commands, slug: str, arguments: tuple[str, ...], words: str
    ) -> None:
        given = [one.replace("{slug}", slug) for one in arguments]
        assert words in commands.refusal("key", *given)


class TestQuotas:
    def test_set_and_shown(self, commands: Commands, slug: str) -> None:
        commands.output("tenant", "limit", slug, "--runs", "5", "--points-per-day", "70")
        commands.output("tenant", "limit", slug, "--points-per-day", "none")
        assert commands.output("tenant", "usage", slug) == (
            "requests_per_second\t-\tnone\n"
            "points_per_day\t-\tnone\n"
            "runs\t0\t5\n"
            "artifact_bytes\t0\tnone\n"
        )

    @pytest.mark.parametrize("value", ["many", "9" * 30])
    def test_malformed(self, commands: Commands, slug: str, value: str) -> None:
        words = "runs must be a whole number, or none"
        assert words in commands.refusal("tenant", "limit", slug, f"--runs={value}")


class TestRefusalToServe:
    @pytest.mark.parametrize("host", ["0.0.0.0", "tracking.example.org"])
    def test_everybody_without_authentication(self, commands: Commands, host: str) -> None:
        words = commands.refusal("serve", TRACKING_HOST=host)
        assert f"TRACKING_AUTH is off and TRACKING_HOST is {host}" in words
        assert "TRACKING_ALLOW_UNAUTHENTICATED=true" in words

    @pytest.mark.parametrize(
        "settings",
        [{"TRACKING_AUTH": "keys"}, {"TRACKING_ALLOW_UNAUTHENTICATED": "true"}],
    )
    def test_not_with_keys_and_not_where_it_is_meant(
        self, commands: Commands, settings: dict[str, str]
    ) -> None:
        """An address that this machine does not have: the next thing that stands in the way."""
        words = commands.refusal("serve", TRACKING_HOST="192.0.2.1", **settings)
        assert "cannot listen on 192.0.2.1" in words

    @pytest.mark.parametrize(
        ("host", "loopback"),
        [
            ("127.0.0.1", True),
            ("127.1.2.3", True),
            ("localhost", True),
            ("::1", True),
            ("0.0.0.0", False),
            ("::", False),
            ("10.0.0.1", False),
            ("localhost.example", False),
        ],
    )
    def test_what_loopback_is(self, host: str, loopback: bool) -> None:
        assert Settings(_env_file=None, host=host).loopback is loopback

    def test_as_a_superuser_with_keys(self, commands: Commands, postgres: Postgres) -> None:
        url = superuser_url(postgres)
        words = commands.refusal(
            "serve", TRACKING_AUTH="keys", TRACKING_DATABASE_URL=url, TRACKING_PORT="0"
        )
        assert "is a superuser or has BYPASSRLS" in words

    @pytest.mark.parametrize("key", ["x" * 31, "ü" * 40])
    def test_an_admin_key_that_could_be_guessed(self, commands: Commands, key: str) -> None:
        words = commands.refusal("serve", TRACKING_ADMIN_KEY=key)
        assert "TRACKING_ADMIN_KEY: must have at least 32 characters" in words
        assert key not in words


class TestRoles:
    def test_the_applications(self, postgres: Postgres) -> None:
        state = roles.inspect(postgres.app_url)
        assert (state.bypasses, state.owns) == (False, False)

    def test_the_owner(self, postgres: Postgres) -> None:
        state = roles.inspect(postgres.owner_url)
        assert (state.bypasses, state.owns) == (False, True)

    def test_a_superuser(self, postgres: Postgres) -> None:
        assert roles.inspect(superuser_url(postgres)).bypasses


def superuser_url(postgres: Postgres) -> str:
    if "TRACKING_TEST_DATABASE_URL" in os.environ:
        pytest.skip("the superuser of a database from outside is not known here")
    return postgres.owner_url.replace("//tracking_owner@", "//postgres@")
