"""How to reach the brokers: addresses, TLS, credentials. One value gives every client, ours and Faust's, its options.

What is secret is in no ``repr``, message or log; not in aiokafka's debug log either, which would print it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from inspect import isawaitable
from pathlib import Path
from typing import Any, Final

from ...errors import Problem, UsageError

PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
OAUTH: Final = "OAUTHBEARER"
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", OAUTH)
CODE: Final = "KAFKA_SETTINGS"
TOKEN_S: Final = 10.0
"""A token provider that takes longer has failed: a broker waits no longer for a login (connections.max.reauth.ms)."""
_PORT: Final = 9092
_HOST: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:/@\[\],;]+)(?::(?P<port>\d{1,5}))?")

TokenFunction = Callable[[], str | Awaitable[str]]

ENVIRONMENT: Final = {
    "bootstrap": "DYNAMICFLOW_BOOTSTRAP",
    "security_protocol": "DYNAMICFLOW_SECURITY_PROTOCOL",
    "sasl_mechanism": "DYNAMICFLOW_SASL_MECHANISM",
    "username": "DYNAMICFLOW_SASL_USERNAME",
    "password": "DYNAMICFLOW_SASL_PASSWORD",
    "token": "DYNAMICFLOW_SASL_TOKEN",
    "token_file": "DYNAMICFLOW_SASL_TOKEN_FILE",
    "token_provider": "DYNAMICFLOW_SASL_TOKEN_PROVIDER",
    "cafile": "DYNAMICFLOW_TLS_CA",
    "certfile": "DYNAMICFLOW_TLS_CERT",
    "keyfile": "DYNAMICFLOW_TLS_KEY",
    "key_password": "DYNAMICFLOW_TLS_KEY_PASSWORD",
    "check_hostname": "DYNAMICFLOW_TLS_CHECK_HOSTNAME",
}
"""Field -> variable. ``<variable>_FILE`` names a file that holds a user name or password instead."""
_IN_A_FILE: Final = ("username", "password", "key_password")
_TLS: Final = ("cafile", "certfile", "keyfile", "key_password")
_LOGIN: Final = ("username", "password")
_TOKENS: Final = ("token", "token_file", "token_provider")


class Secret(str):
    """A text that does not show itself where options are printed or logged with ``%r``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


@dataclass(frozen=True)
class Connection:
    """A cluster and how to log in. Raises UsageError KAFKA_SETTINGS with every problem of the combination at once."""

    bootstrap: str
    """``host:port,host:port``; without a port it is 9092."""
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    """An OAuth token that lasts; one that is renewed comes from ``token_file`` or ``token_provider`` at every login."""
    token_file: str | None = None
    token_provider: str | TokenFunction | None = None
    """``module:function`` or the function; sync ones run on a thread. Its answer is the token."""
    cafile: str | None = None
    """Authorities that are trusted, PEM; None are those of the system."""
    certfile: str | None = None
    """The client's own certificate, for brokers that ask for one; ``keyfile`` None: the key stands in it too."""
    keyfile: str | None = None
    key_password: str | None = field(default=None, repr=False)
    check_hostname: bool = True

    def __post_init__(self) -> None:
        _refuse(list(_problems(self)))

    @classmethod
    def from_env(cls, bootstrap: str | None = None, environ: Mapping[str, str] = os.environ) -> Connection:
        """What the environment says; ``bootstrap`` given wins. Raises UsageError KAFKA_SETTINGS.

        A token in the environment or a file is read again at every login, a password once.
        """
        given: dict[str, Any] = {name: environ.get(variable) or None for name, variable in ENVIRONMENT.items()}
        for name in _IN_A_FILE:
            variable = f"{ENVIRONMENT[name]}_FILE"
            if environ.get(variable):
                if given[name] is not None:
                    raise UsageError(CODE, f"{ENVIRONMENT[name]} and {variable} are both set; unset one of them")
                given[name] = _text_of(environ[variable], variable)
        if given["token"] is not None and given["token_provider"] is None:
            given["token"], given["token_provider"] = None, _EnvironmentToken(environ)
        given["check_hostname"] = _truth(given["check_hostname"])
        given["bootstrap"] = bootstrap or given["bootstrap"] or ""
        given["security_protocol"] = (given["security_protocol"] or "PLAINTEXT").upper()
        given["sasl_mechanism"] = given["sasl_mechanism"] and given["sasl_mechanism"].upper()
        return cls(**given)

    @property
    def hosts(self) -> tuple[str, ...]:
        """``host:port`` of each bootstrap server."""
        return tuple(f"{host}:{port}" for host, port in _addresses(self.bootstrap))

    @property
    def encrypted(self) -> bool:
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def logs_in(self) -> bool:
        return self.security_protocol.startswith("SASL_")

    def client_options(self) -> dict[str, Any]:
        """What aiokafka's consumer, producer and admin client take. Reads the certificates. Raises UsageError."""
        options: dict[str, Any] = {
            "bootstrap_servers": ",".join(self.hosts),
            "security_protocol": self.security_protocol,
        }
        if self.encrypted:
            options["ssl_context"] = self.ssl_context()
        if self.logs_in:
            _keep_logins_out_of_logs()
            options["sasl_mechanism"] = self.sasl_mechanism
            if self.sasl_mechanism == OAUTH:
                options["sasl_oauth_token_provider"] = self.tokens()
            else:
                options["sasl_plain_username"] = self.username
                options["sasl_plain_password"] = Secret(self.password)
        return options

    def faust_options(self) -> dict[str, Any]:
        """What ``faust.App`` takes: ``broker`` and, where there are any, ``broker_credentials``. Raises UsageError."""
        options: dict[str, Any] = {"broker": ";".join(f"kafka://{host}" for host in self.hosts)}
        if self.security_protocol == "PLAINTEXT":
            return options
        import faust  # half a second, and only a worker needs it

        context = self.ssl_context() if self.encrypted else None
        if not self.logs_in:
            options["broker_credentials"] = faust.SSLCredentials(context)
            return options
        _keep_logins_out_of_logs()
        if self.sasl_mechanism == OAUTH:
            from faust.auth import OAuthCredentials

            options["broker_credentials"] = OAuthCredentials(oauth_cb=self.tokens(), ssl_context=context)
        else:
            options["broker_credentials"] = faust.SASLCredentials(
                username=self.username,
                password=self.password and Secret(self.password),
                ssl_context=context,
                mechanism=self.sasl_mechanism,
            )
        return options

    def ssl_context(self) -> ssl.SSLContext:
        """Verifies the broker, and shows the client's own certificate if there is one. Raises UsageError."""
        try:
            context = ssl.create_default_context(cafile=self.cafile)
        except (OSError, ValueError) as error:
            raise _unreadable("cafile", self.cafile, error, "the authorities in PEM") from error
        context.check_hostname = self.check_hostname
        if self.certfile is not None:

            def asked() -> str:  # without it OpenSSL would ask on the terminal
                return self.key_password or ""

            try:
                context.load_cert_chain(self.certfile, self.keyfile, asked)
            except (OSError, ValueError) as error:
                shown = " and ".join(filter(None, (self.certfile, self.keyfile)))
                wanted = "a certificate and its key in PEM, with the right DYNAMICFLOW_TLS_KEY_PASSWORD if it has one"
                raise _unreadable("certfile", shown, error, wanted) from error
        return context

    def tokens(self) -> Tokens:
        """The token provider. Raises UsageError when its function cannot be imported."""
        from aiokafka.abc import AbstractTokenProvider

        AbstractTokenProvider.register(Tokens)
        if self.token_provider is not None:
            given = self.token_provider
            function = _imported(given) if isinstance(given, str) else given
            return Tokens(function, given if isinstance(given, str) else getattr(given, "__name__", str(given)))
        if self.token_file is not None:
            path = self.token_file
            return Tokens(lambda: _text_of(path, "token_file"), path)
        token = self.token or ""
        return Tokens(lambda: token, "token")


class Tokens:
    """Gives clients the token as it is at this moment (aiokafka's AbstractTokenProvider, by registration)."""

    def __init__(self, function: TokenFunction, name: str) -> None:
        self._function, self._name = function, name

    def __repr__(self) -> str:
        return f"Tokens({self._name})"

    async def token(self) -> str:
        """Raises aiokafka's AuthenticationFailedError, which its clients take as a connection that failed."""
        from aiokafka.errors import AuthenticationFailedError

        try:
            async with asyncio.timeout(TOKEN_S):
                found: Any = await asyncio.to_thread(self._function)
                if isawaitable(found):
                    found = await found
        except (
            Exception
        ) as error:  # of users' code; its text may hold what is secret, so only its kind and place is told
            raise AuthenticationFailedError(f"no token from {self._name}: {_kind_and_place(error)}") from None
        token = found.strip() if isinstance(found, str) else ""
        if not token or "\x01" in token:
            raise AuthenticationFailedError(f"no token from {self._name}: it gave no text that can be one")
        return token

    def extensions(self) -> dict[str, str]:
        return {}


@dataclass(frozen=True)
class _EnvironmentToken:
    """Reads the variable again at every login."""

    environ: Mapping[str, str] = field(repr=False)

    def __call__(self) -> str:
        return self.environ.get(ENVIRONMENT["token"], "")

    def __str__(self) -> str:
        return ENVIRONMENT["token"]


class _NoLogins(logging.Filter):
    """aiokafka logs each request at debug level, those with a password or token in them as well."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            shown = (f"{type(one).__name__}(***)" if _is_login(one) else one for one in record.args)
            record.args = tuple(shown)
        return True


def _is_login(value: object) -> bool:
    return type(value).__name__.startswith("SaslAuthenticate")


_NO_LOGINS: Final = _NoLogins()


def _keep_logins_out_of_logs() -> None:
    logging.getLogger("aiokafka.conn").addFilter(_NO_LOGINS)  # again is harmless


def _refuse(problems: list[Problem]) -> None:
    """Raises UsageError KAFKA_SETTINGS if there are any."""
    if len(problems) == 1:
        raise UsageError(CODE, f"{problems[0].message}; {problems[0].suggestion}")
    if problems:
        raise UsageError(CODE, f"{len(problems)} settings of the connection to Kafka are missing or wrong", problems)


def _problem(name: str, message: str, suggestion: str) -> Problem:
    return Problem(CODE, f"/{name}", f"{ENVIRONMENT[name]} {message}", suggestion)


def _problems(given: Connection) -> Iterator[Problem]:
    yield from _address_problems(given.bootstrap)
    if given.security_protocol not in PROTOCOLS:
        message = f"is {given.security_protocol!r}, which is no protocol"
        yield _problem("security_protocol", message, f"use one of {', '.join(PROTOCOLS)}")
        return
    yield from _tls_problems(given)
    if given.logs_in:
        yield from _login_problems(given)
    else:
        names = ("sasl_mechanism", *_LOGIN, *_TOKENS)
        yield from _without_effect(given, names, "set DYNAMICFLOW_SECURITY_PROTOCOL=SASL_SSL (or SASL_PLAINTEXT)")


def _address_problems(bootstrap: str) -> Iterator[Problem]:
    if not bootstrap.strip(", "):
        message = f"{ENVIRONMENT['bootstrap']} is not set: no broker is named"
        yield Problem(CODE, "/bootstrap", message, "give --bootstrap HOST:PORT or set it")
    for one in filter(None, (word.strip() for word in bootstrap.split(","))):
        found = _HOST.fullmatch(one)
        if found is None or not 0 < int(found["port"] or _PORT) < 65_536:
            shown = f"...{one[one.rindex('@') :]}" if "@" in one else one
            message = f"the brokers (--bootstrap, {ENVIRONMENT['bootstrap']}) hold {shown!r}, which is no address"
            yield Problem(CODE, "/bootstrap", message, "write HOST:PORT,HOST:PORT")


def _tls_problems(given: Connection) -> Iterator[Problem]:
    if not given.encrypted:
        yield from _without_effect(given, _TLS, "set DYNAMICFLOW_SECURITY_PROTOCOL to SSL or SASL_SSL")
    elif given.certfile is None:
        names = ("keyfile", "key_password")
        yield from _without_effect(given, names, f"set {ENVIRONMENT['certfile']}, the certificate of the key")


def _login_problems(given: Connection) -> Iterator[Problem]:
    if given.sasl_mechanism not in MECHANISMS:
        message = f"is {given.sasl_mechanism!r}" if given.sasl_mechanism else "is not set"
        yield _problem("sasl_mechanism", message, f"use one of {', '.join(MECHANISMS)}")
    elif given.sasl_mechanism != OAUTH:
        for name in _LOGIN:
            if not getattr(given, name):
                message = f"is not set, and {given.sasl_mechanism} needs it"
                yield _problem(name, message, f"set it, or {ENVIRONMENT[name]}_FILE to a file that holds it")
        yield from _without_effect(given, _TOKENS, f"unset it, or set DYNAMICFLOW_SASL_MECHANISM={OAUTH}")
    else:
        sources = [name for name in _TOKENS if getattr(given, name)]
        if len(sources) != 1:
            found = " and ".join(ENVIRONMENT[name] for name in sources) or "none"
            wanted = "set exactly one of it, …_FILE and …_PROVIDER (module:function)"
            yield _problem("token", f"or another source of tokens is needed once, found: {found}", wanted)
        if isinstance(given.token_provider, str) and not re.fullmatch(r"[\w.]+:[\w.]+", given.token_provider):
            yield _problem("token_provider", f"is {given.token_provider!r}", "write module:function")
        yield from _without_effect(given, _LOGIN, f"unset it: {OAUTH} logs in with a token")


def _without_effect(given: Connection, names: tuple[str, ...], suggestion: str) -> Iterator[Problem]:
    for name in names:
        if getattr(given, name):
            how = f"{given.security_protocol} {given.sasl_mechanism if given.logs_in else ''}".strip()
            yield _problem(name, f"is set, and a {how} connection makes no use of it", suggestion)


def _addresses(bootstrap: str) -> Iterator[tuple[str, int]]:
    for one in bootstrap.split(","):
        if found := _HOST.fullmatch(one.strip()):
            yield found["host"], int(found["port"] or _PORT)


def _text_of(path: str, variable: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise UsageError(CODE, f"{variable} names {path}, which cannot be read: {_reason(error)}") from None


def _truth(given: str | None) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if (given or "true").lower() not in words:
        raise UsageError(CODE, f"{ENVIRONMENT['check_hostname']} is {given!r}; write true or false")
    return words[(given or "true").lower()]


def _imported(path: str) -> TokenFunction:
    module, _, name = path.partition(":")
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:
        message = f"{ENVIRONMENT['token_provider']} is {path!r}, which cannot be imported: {_kind_and_place(error)}"
        raise UsageError(CODE, f"{message}; write module:function, and put the module on PYTHONPATH") from error
    if not callable(found):
        raise UsageError(CODE, f"{ENVIRONMENT['token_provider']} is {path!r}, which is no function")
    function: TokenFunction = found
    return function


def _unreadable(name: str, path: str | None, error: Exception, wanted: str) -> UsageError:
    message = f"{ENVIRONMENT[name]} ({path or 'not set'}) cannot be used: {_reason(error)}; it should hold {wanted}"
    return UsageError(CODE, message)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"OpenSSL cannot read it ({error.reason or 'no such thing in it, or another password'})"
    return getattr(error, "strerror", None) or type(error).__name__


def _kind_and_place(error: Exception) -> str:
    if isinstance(error, UsageError):  # ours
        return error.message
    if isinstance(error, TimeoutError):
        return f"no answer within {TOKEN_S:.0f} s"
    trace, place = error.__traceback__, ""
    while trace is not None:
        place = f" in {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__}{place}"
