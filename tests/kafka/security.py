"""What a broker with secure listeners needs: certificates, one user, and a token it takes."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from pathlib import Path
from typing import Final

USERNAME: Final = "flows"
PASSWORD: Final = "only-for-tests"
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
PACKAGE: Final = "org.apache.kafka.common.security"

SCRAM_USERS: Final = tuple(
    option
    for mechanism in MECHANISMS
    if mechanism.startswith("SCRAM")
    for option in ("--add-scram", f"{mechanism}=[name={USERNAME},password={PASSWORD}]")
)
"""Arguments of Kafka's format command that put the user in the metadata."""

AUTHORITY: Final = """\
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name}
 -keyout {name}.key -out {name}.pem"""
REQUEST: Final = """\
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name}
 -addext subjectAltName=IP:127.0.0.1,DNS:localhost -keyout {name}.key -out {name}.csr"""
SIGNATURE: Final = """\
openssl x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2
 -copy_extensions copy -out {name}.pem"""


def make_certificates(folder: Path) -> None:
    """In ``folder``: the authority ``ca``, ``server`` and ``client`` signed by it, and ``stranger``, signed by itself.

    Each as ``.pem`` and ``.key``, good for two days, 127.0.0.1 and localhost. ``server.chain`` is what Kafka reads.
    """
    folder.mkdir(parents=True, exist_ok=True)
    commands = [AUTHORITY.format(name=name) for name in ("ca", "stranger")]
    commands += [command.format(name=name) for name in ("server", "client") for command in (REQUEST, SIGNATURE)]
    for command in commands:
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    parts = [(folder / name).read_text(encoding="utf-8") for name in ("server.key", "server.pem", "ca.pem")]
    (folder / "server.chain").write_text("".join(parts), encoding="utf-8")


def token(*, seconds: float = 3600, subject: str = USERNAME) -> str:
    """An unsigned JSON Web Token, good for ``seconds`` from now; refused by the broker if that is negative."""
    now = time.time()
    issued = min(now, now + seconds - 60) - 1  # a broker refuses what is issued within its current millisecond
    parts = ({"alg": "none"}, {"sub": subject, "iat": issued, "exp": now + seconds})
    coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join((*coded, ""))


def listener_properties(certificates: Path) -> dict[str, str]:
    """For listeners named after their protocol: SASL_PLAINTEXT, SSL and SASL_SSL; each takes what it can take."""
    login = f'required username="{USERNAME}" password="{PASSWORD}"'
    found = {"sasl.enabled.mechanisms": ",".join(MECHANISMS)}
    for listener in ("sasl_plaintext", "sasl_ssl"):
        at = f"listener.name.{listener}"
        found |= {
            f"{at}.plain.sasl.jaas.config": f'{PACKAGE}.plain.PlainLoginModule {login} user_{USERNAME}="{PASSWORD}";',
            f"{at}.scram-sha-256.sasl.jaas.config": f"{PACKAGE}.scram.ScramLoginModule required;",
            f"{at}.scram-sha-512.sasl.jaas.config": f"{PACKAGE}.scram.ScramLoginModule required;",
            f"{at}.oauthbearer.sasl.jaas.config": f"{PACKAGE}.oauthbearer.OAuthBearerLoginModule required;",
            f"{at}.oauthbearer.sasl.server.callback.handler.class": (
                f"{PACKAGE}.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler"
            ),
        }
    found["listener.name.ssl.ssl.client.auth"] = "requested"
    for listener in ("ssl", "sasl_ssl"):
        found |= {
            f"listener.name.{listener}.ssl.keystore.type": "PEM",
            f"listener.name.{listener}.ssl.keystore.location": str(certificates / "server.chain"),
            f"listener.name.{listener}.ssl.truststore.type": "PEM",
            f"listener.name.{listener}.ssl.truststore.location": str(certificates / "ca.pem"),
        }
    return found
