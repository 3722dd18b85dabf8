"""Knocks at brokers, and says in words of people why one cannot be used: aiokafka logs the reason and forgets it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Mapping
from typing import Any, Final

from ...errors import BrokerError
from .connection import OAUTH, Connection

UNREACHABLE: Final = "BROKER_UNREACHABLE"
AUTH: Final = "BROKER_AUTH"
CLOSING_S: Final = 2.0
"""How long a connection may take to say good-bye."""


async def first_to_answer(connection: Connection, options: Mapping[str, Any]) -> str:
    """The first bootstrap server to answer. aiokafka's own start would log why one does not, and then not say it."""
    knocks = {asyncio.create_task(_knock(host, options)): host for host in connection.hosts}
    waiting, failed = set(knocks), list[Exception]()
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for knock in done:
                error = knock.exception()
                if error is None:
                    return knocks[knock]
                if not isinstance(error, failures()):
                    raise error
                failed.append(error)
    finally:
        for knock in waiting:
            knock.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    reasons = [told(connection, error) for error in failed]
    raise next((one for one in reasons if one.code == AUTH), reasons[0])


async def _knock(host: str, options: Mapping[str, Any]) -> None:
    """It lets us in and answers."""
    from aiokafka.conn import create_conn
    from aiokafka.errors import KafkaConnectionError
    from aiokafka.protocol.metadata import MetadataRequest

    name, _, port = host.rpartition(":")
    rest = {key: value for key, value in options.items() if key != "bootstrap_servers"}
    connected = await create_conn(name.strip("[]"), int(port), **rest)
    try:
        answer = await connected.send(MetadataRequest([]))
        if not answer.brokers:  # what it says to a stranger: aiokafka takes a refused token for a login
            raise KafkaConnectionError(f"{host} names no brokers")
    finally:
        closing = connected.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_S):
                await asyncio.shield(closing)


def failures() -> tuple[type[Exception], ...]:
    """What brokers, the way to them, and aiokafka where it does not understand one, may raise."""
    from aiokafka.errors import KafkaError

    return (KafkaError, OSError, ValueError, AssertionError, NotImplementedError)


def told(connection: Connection, error: Exception) -> BrokerError:
    """Why a broker cannot be used, in words of people; aiokafka's own name their classes."""
    code, reason, advice = _why(connection, error)
    return BrokerError(code, f"kafka at {connection.bootstrap}: {reason}; {advice}")


def _why(connection: Connection, error: Exception) -> tuple[str, str, str]:
    cause: BaseException | None = error
    while cause is not None:
        if (found := _login(connection, cause) or _tls(cause) or _network(cause)) is not None:
            return found
        cause = cause.__cause__
    return _closed(connection, error)


def _login(connection: Connection, error: BaseException) -> tuple[str, str, str] | None:
    from aiokafka import errors as kafka

    said = ": ".join(map(str, error.args))
    if isinstance(error, kafka.SaslAuthenticationFailed):
        advice = "check DYNAMICFLOW_SASL_USERNAME and DYNAMICFLOW_SASL_PASSWORD"
        return AUTH, f"it refuses the {connection.sasl_mechanism} credentials ({said or 'no reason given'})", advice
    if isinstance(error, kafka.UnsupportedSaslMechanismError | kafka.IllegalSaslStateError):
        reason = f"it offers no login by {connection.sasl_mechanism} there"
        return AUTH, reason, "check DYNAMICFLOW_SASL_MECHANISM, DYNAMICFLOW_SECURITY_PROTOCOL and the port"
    if isinstance(error, kafka.AuthenticationFailedError):  # of Tokens
        return AUTH, said, "check the source of the token"
    return None


def _tls(error: BaseException) -> tuple[str, str, str] | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = f"its certificate is not trusted ({error.verify_message})"
        return AUTH, reason, "check DYNAMICFLOW_TLS_CA and the host name"
    if isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return UNREACHABLE, "that port does not speak TLS", "check the port and DYNAMICFLOW_SECURITY_PROTOCOL"
    if isinstance(error, ssl.SSLError):
        reason = f"no TLS connection comes about ({error.reason or type(error).__name__})"
        return AUTH, reason, "check DYNAMICFLOW_TLS_CERT and DYNAMICFLOW_TLS_KEY, which it may ask for"
    return None


def _network(error: BaseException) -> tuple[str, str, str] | None:
    if isinstance(error, socket.gaierror):
        return UNREACHABLE, f"no such host ({error.strerror})", "check the name"
    if isinstance(error, TimeoutError):
        return UNREACHABLE, "no answer in time", "check host, port and firewall"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return _CUT
    if isinstance(error, OSError):
        reason = os.strerror(error.errno) if error.errno else str(error)
        return UNREACHABLE, reason, "check host and port, and that it is running"
    return None


_CUT: Final = (
    UNREACHABLE,
    "it closed the connection at once",
    "it may ask for TLS, or not know it, or ask for a login: check the port and DYNAMICFLOW_SECURITY_PROTOCOL",
)


def _closed(connection: Connection, error: Exception) -> tuple[str, str, str]:
    from aiokafka.errors import KafkaConnectionError

    if not isinstance(error, KafkaConnectionError):
        return UNREACHABLE, f"it cannot be used ({type(error).__name__})", "check that it is Kafka, 2.0 or newer"
    if connection.logs_in and connection.sasl_mechanism == OAUTH:
        return AUTH, "it does not take the token", "check that it is valid for this broker and has not expired"
    return _CUT
