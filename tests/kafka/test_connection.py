"""How to reach the brokers: what the environment says, what cannot work, and that secrets show nowhere."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import AuthenticationFailedError
from aiokafka.protocol.admin import SaslAuthenticateRequest

from dynamicflow import UsageError
from dynamicflow.streams.kafka import connection as module
from dynamicflow.streams.kafka.connection import Connection

SECRET: Final = "hunter2-in-the-attic"
ROOT: Final = Path(__file__).parents[2]
PLAIN: Final = {
    "DYNAMICFLOW_BOOTSTRAP": "k1:9092,k2:9093",
    "DYNAMICFLOW_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "DYNAMICFLOW_SASL_MECHANISM": "PLAIN",
    "DYNAMICFLOW_SASL_USERNAME": "ada",
    "DYNAMICFLOW_SASL_PASSWORD": SECRET,
}
OAUTH: Final = {
    "DYNAMICFLOW_BOOTSTRAP": "k1:9092",
    "DYNAMICFLOW_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "DYNAMICFLOW_SASL_MECHANISM": "OAUTHBEARER",
}


def from_env(environ: Mapping[str, str], **more: str | None) -> Connection:
    """The connection of an environment with changes; None takes a variable away."""
    changed = {**environ, **{f"DYNAMICFLOW_{name}": value for name, value in more.items()}}
    return Connection.from_env(environ={name: value for name, value in changed.items() if value is not None})


def refusal(environ: Mapping[str, str], **more: str | None) -> UsageError:
    with pytest.raises(UsageError) as told:
        from_env(environ, **more)
    assert told.value.code == "KAFKA_SETTINGS"
    return told.value


def static_token() -> str:
    return "from-a-function"


async def awaited_token() -> str:
    await asyncio.sleep(0)
    return "from-a-coroutine"


class TestTheEnvironmentSaysHow:
    def test_an_address_alone_is_plain_text(self) -> None:
        found = from_env({"DYNAMICFLOW_BOOTSTRAP": "k1:9092"})

        assert found == Connection("k1:9092")
        assert found.client_options() == {"bootstrap_servers": "k1:9092", "security_protocol": "PLAINTEXT"}
        assert found.faust_options() == {"broker": "kafka://k1:9092"}

    def test_an_address_that_is_given_wins(self) -> None:
        assert Connection.from_env("given:1", environ=PLAIN).hosts == ("given:1",)

    @pytest.mark.parametrize(
        ("bootstrap", "hosts"),
        [
            ("k1", ("k1:9092",)),
            ("k1:1, k2 ,k3:3", ("k1:1", "k2:9092", "k3:3")),
            ("10.0.0.1:9", ("10.0.0.1:9",)),
            ("[::1]:9094,[fe80::1]", ("[::1]:9094", "[fe80::1]:9092")),
        ],
    )
    def test_several_addresses_and_the_port_that_is_left_out(self, bootstrap: str, hosts: tuple[str, ...]) -> None:
        found = Connection(bootstrap)

        assert found.hosts == hosts
        assert found.client_options()["bootstrap_servers"] == ",".join(hosts)
        assert found.faust_options()["broker"] == ";".join(f"kafka://{host}" for host in hosts)

    def test_a_password_makes_the_options_of_aiokafka(self) -> None:
        assert from_env(PLAIN).client_options() == {
            "bootstrap_servers": "k1:9092,k2:9093",
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": "ada",
            "sasl_plain_password": SECRET,
        }

    def test_a_password_makes_the_credentials_of_faust(self) -> None:
        made = from_env(PLAIN, SASL_MECHANISM="SCRAM-SHA-512").faust_options()["broker_credentials"]

        assert (made.protocol.value, made.mechanism.value) == ("SASL_PLAINTEXT", "SCRAM-SHA-512")
        assert (made.username, made.password) == ("ada", SECRET)

    def test_names_of_protocols_may_be_in_small_letters(self) -> None:
        found = from_env(PLAIN, SECURITY_PROTOCOL="sasl_plaintext", SASL_MECHANISM="scram-sha-256")

        assert (found.security_protocol, found.sasl_mechanism) == ("SASL_PLAINTEXT", "SCRAM-SHA-256")

    def test_a_password_may_stand_in_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "password").write_text(f"{SECRET}\n", encoding="utf-8")

        found = from_env(PLAIN, SASL_PASSWORD=None, SASL_PASSWORD_FILE=str(tmp_path / "password"))

        assert found.password == SECRET

    def test_tls_without_authorities_trusts_those_of_the_system(self) -> None:
        found = from_env(PLAIN, SECURITY_PROTOCOL="SASL_SSL")

        context = found.client_options()["ssl_context"]
        credentials = found.faust_options()["broker_credentials"]
        assert (context.check_hostname, context.verify_mode.name) == (True, "CERT_REQUIRED")
        assert (credentials.protocol.value, credentials.ssl_context.check_hostname) == ("SASL_SSL", True)

    def test_the_host_name_may_go_unchecked_and_the_certificate_not(self) -> None:
        found = from_env({"DYNAMICFLOW_BOOTSTRAP": "k"}, SECURITY_PROTOCOL="SSL", TLS_CHECK_HOSTNAME="false")

        context = found.client_options()["ssl_context"]

        assert (context.check_hostname, context.verify_mode.name) == (False, "CERT_REQUIRED")


class TestWhatCannotWorkIsToldWithWhatToDo:
    @pytest.mark.parametrize(
        ("more", "parts"),
        [
            ({"BOOTSTRAP": None}, ("no broker is named", "--bootstrap HOST:PORT")),
            ({"BOOTSTRAP": "k1:0"}, ("'k1:0'", "HOST:PORT,HOST:PORT")),
            ({"BOOTSTRAP": "k1:99999"}, ("'k1:99999'",)),
            ({"BOOTSTRAP": "kafka://k1:9092"}, ("no address",)),
            ({"SECURITY_PROTOCOL": "TLS"}, ("'TLS'", "PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL")),
            ({"SASL_MECHANISM": None}, ("DYNAMICFLOW_SASL_MECHANISM is not set", "SCRAM-SHA-512")),
            ({"SASL_MECHANISM": "GSSAPI"}, ("'GSSAPI'", "OAUTHBEARER")),
            ({"SASL_PASSWORD": None}, ("DYNAMICFLOW_SASL_PASSWORD is not set, and PLAIN needs it", "_FILE")),
            ({"SASL_TOKEN": "t"}, ("DYNAMICFLOW_SASL_TOKEN", "makes no use of it", "OAUTHBEARER")),
            ({"TLS_CA": "ca.pem"}, ("DYNAMICFLOW_TLS_CA is set", "SASL_PLAINTEXT PLAIN", "SASL_SSL")),
            ({"TLS_CHECK_HOSTNAME": "perhaps"}, ("'perhaps'", "true or false")),
            ({"SASL_PASSWORD_FILE": "f"}, ("DYNAMICFLOW_SASL_PASSWORD_FILE are both set",)),
            ({"SASL_PASSWORD": None, "SASL_PASSWORD_FILE": "/nix"}, ("/nix", "No such file")),
            ({"SECURITY_PROTOCOL": "SASL_SSL", "TLS_KEY": "k"}, ("DYNAMICFLOW_TLS_KEY", "DYNAMICFLOW_TLS_CERT")),
        ],
    )
    def test_one_setting(self, more: dict[str, str | None], parts: tuple[str, ...]) -> None:
        told = refusal(PLAIN, **more)

        assert [part for part in parts if part not in told.message] == []

    def test_a_password_without_a_protocol_is_not_sent_in_the_clear_by_itself(self) -> None:
        told = refusal(PLAIN, SECURITY_PROTOCOL=None)

        assert {problem.path for problem in told.problems} == {"/sasl_mechanism", "/username", "/password"}
        assert all("DYNAMICFLOW_SECURITY_PROTOCOL=SASL_SSL" in problem.suggestion for problem in told.problems)

    def test_every_problem_at_once(self) -> None:
        told = refusal(PLAIN, BOOTSTRAP="a b", SASL_USERNAME=None, SASL_PASSWORD=None, TLS_CERT="c")

        assert [problem.path for problem in told.problems] == ["/bootstrap", "/certfile", "/username", "/password"]

    @pytest.mark.parametrize(
        "more",
        [{}, {"SASL_TOKEN": "t", "SASL_TOKEN_FILE": "f"}, {"SASL_TOKEN_FILE": "f", "SASL_TOKEN_PROVIDER": "m:f"}],
    )
    def test_a_token_has_one_source(self, more: dict[str, str | None]) -> None:
        assert "needed once" in refusal(OAUTH, **more).message

    @pytest.mark.parametrize(
        ("path", "part"),
        [
            ("no.such.module:f", "ModuleNotFoundError"),
            ("os.path:no_such", "AttributeError"),
            ("os:name", "no function"),
            ("module", "module:function"),
        ],
    )
    def test_a_token_provider_that_cannot_be_imported(self, path: str, part: str) -> None:
        with pytest.raises(UsageError, match=part):
            from_env(OAUTH, SASL_TOKEN_PROVIDER=path).client_options()

    @pytest.mark.parametrize("name", ["cafile", "certfile"])
    def test_files_of_tls_that_are_none(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "wrong.pem").write_text(SECRET, encoding="utf-8")
        for path, part in ((tmp_path / "nix.pem", "No such file"), (tmp_path / "wrong.pem", "OpenSSL cannot read it")):
            given: Any = {name: str(path)}

            with pytest.raises(UsageError, match=part) as told:
                Connection("k1", "SSL", **given).client_options()

            assert str(path) in told.value.message
            assert SECRET not in str(told.value)


class TestSecretsShowNowhere:
    def test_not_in_the_connection(self) -> None:
        login = from_env(PLAIN)
        token = from_env(OAUTH, SASL_TOKEN=SECRET)
        key = Connection("k1", "SSL", certfile="c", keyfile="k", key_password=SECRET)
        fixed = Connection("k1", "SASL_PLAINTEXT", "OAUTHBEARER", token=SECRET)

        for found in (login, token, key, fixed):
            assert SECRET not in f"{found} {found!r} {found.__dict__.keys()}"

    def test_not_in_the_options_as_one_would_print_them(self) -> None:
        for found in (from_env(PLAIN), from_env(OAUTH, SASL_TOKEN=SECRET)):
            assert SECRET not in f"{found.client_options()} {found.faust_options()}"

    def test_not_in_what_is_wrong(self) -> None:
        for more in ({"SASL_USERNAME": None}, {"SECURITY_PROTOCOL": None}, {"SASL_MECHANISM": "OAUTHBEARER"}):
            assert SECRET not in str(refusal(PLAIN, **more))
        assert SECRET not in str(refusal(PLAIN, BOOTSTRAP=f"ada:{SECRET}@k1:9092"))

    def test_not_in_the_debug_log_of_aiokafka(self, caplog: pytest.LogCaptureFixture) -> None:
        from_env(PLAIN).client_options()
        request = SaslAuthenticateRequest(f"\0ada\0{SECRET}".encode()).prepare({36: (0, 1)})
        log = logging.getLogger("aiokafka.conn")

        with caplog.at_level(logging.DEBUG, "aiokafka.conn"):
            log.debug("Request to %s:%d %d: %s", "k1", 9092, 1, request)

        assert SECRET in repr(request), "the log of aiokafka holds it"
        assert "k1:9092 1: SaslAuthenticateRequest" in caplog.text
        assert SECRET not in caplog.text

    def test_a_connection_can_be_handed_to_another_process(self) -> None:
        found = from_env(PLAIN)

        assert pickle.loads(pickle.dumps(found)) == found


class TestATokenIsTheOneOfThisMoment:
    async def test_of_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "token"
        path.write_text("first\n", encoding="utf-8")
        tokens = from_env(OAUTH, SASL_TOKEN_FILE=str(path)).client_options()["sasl_oauth_token_provider"]

        first = await tokens.token()
        path.write_text("second\n", encoding="utf-8")

        assert (first, await tokens.token()) == ("first", "second")

    async def test_of_the_environment(self) -> None:
        environ = {**OAUTH, "DYNAMICFLOW_SASL_TOKEN": "first"}
        tokens = Connection.from_env(environ=environ).tokens()

        first = await tokens.token()
        environ["DYNAMICFLOW_SASL_TOKEN"] = "second"

        assert (first, await tokens.token()) == ("first", "second")

    @pytest.mark.parametrize(
        ("provider", "token"),
        [(static_token, "from-a-function"), (awaited_token, "from-a-coroutine"), ("os:getcwd", os.getcwd())],
    )
    async def test_of_a_function(self, provider: Any, token: str) -> None:
        found = Connection("k1", "SASL_PLAINTEXT", "OAUTHBEARER", token_provider=provider)

        assert await found.tokens().token() == token

    def test_aiokafka_and_faust_take_what_gives_it(self) -> None:
        found = from_env(OAUTH, SASL_TOKEN="t")

        assert isinstance(found.client_options()["sasl_oauth_token_provider"], AbstractTokenProvider)
        assert isinstance(found.faust_options()["broker_credentials"].oauth_cb, AbstractTokenProvider)

    async def test_what_a_function_says_when_it_fails_is_not_passed_on(self) -> None:
        def fails() -> str:
            raise KeyError(SECRET)

        tokens = Connection("k1", "SASL_PLAINTEXT", "OAUTHBEARER", token_provider=fails).tokens()

        with pytest.raises(
            AuthenticationFailedError, match=r"no token from fails: KeyError in test_connection\.py"
        ) as told:
            await tokens.token()
        assert SECRET not in str(told.value)
        assert told.value.__cause__ is None

    @pytest.mark.parametrize("answer", ["", "  ", None, 7, "a\x01auth=b"])
    async def test_what_is_no_token_is_not_sent(self, answer: Any) -> None:
        tokens = Connection("k1", "SASL_PLAINTEXT", "OAUTHBEARER", token_provider=lambda: answer).tokens()

        with pytest.raises(AuthenticationFailedError, match="gave no text that can be one"):
            await tokens.token()

    async def test_a_function_that_never_answers_has_failed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "TOKEN_S", 0.05)

        async def never() -> str:
            await asyncio.Event().wait()
            return ""

        with pytest.raises(AuthenticationFailedError, match="no answer within"):
            await Connection("k1", "SASL_PLAINTEXT", "OAUTHBEARER", token_provider=never).tokens().token()


class TestWhatItCosts:
    def test_settings_and_topics_load_no_client(self) -> None:
        code = (
            "import sys, dynamicflow.streams.kafka.connection as c, dynamicflow.streams.kafka.topics; "
            "c.Connection('k1').client_options(); print(*{'faust', 'aiokafka', 'mode'} & set(sys.modules))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )

        assert done.stdout.split() == []
