"""Keys and tokens: good ones by `meridian token`, bad ones by hand."""

import base64
import hashlib
import hmac
import json
import os
import time

from region import run


def made(*words):
    code, out, error = run(*words)
    assert code == 0, (words, code, error)
    return out.strip()


def encoded(data):
    return base64.urlsafe_b64encode(data if isinstance(data, bytes) else json.dumps(data).encode()).rstrip(b"=").decode()


def signed(secret, claims, alg="HS256"):
    """A token signed here with a shared secret, so that its claims may be anything."""
    message = f"{encoded({'alg': alg})}.{encoded(claims)}"
    return f"{message}.{encoded(hmac.new(secret, message.encode(), hashlib.sha256).digest())}"


def unsigned(claims):
    return f"{encoded({'alg': 'none'})}.{encoded(claims)}."


class Keys:
    """A key of one kind ("secret", "rsa" or "ecdsa") in a folder, and what signs and verifies with it."""

    def __init__(self, folder, kind, name="key"):
        self.kind = kind
        self.private, self.public = (os.path.join(folder, f"{name}.{kind}.{half}") for half in ("private", "public"))
        if kind == "secret":
            made("token", "keygen", "--out", self.private)
        else:
            made("token", "keygen", f"--{kind}", "--private-key", self.private, "--public-key", self.public)
        self.alg = {"secret": None, "rsa": "RS256", "ecdsa": "ES256"}[kind]

    def token(self, subject, *more):
        if self.kind == "secret":
            return made("token", "create", "--secret-key", self.private, "--subject", subject, *more)
        return made("token", "create", "--private-key", self.private, "--alg", self.alg, "--subject", subject, *more)

    def config(self, path, **more):
        """A server's configuration file with authentication and authorisation by this key."""
        settings = {"authentication_enabled": True, "authorization_enabled": True, "super_user_roles": ["admin"], **more}
        if self.kind == "secret":
            settings["token_secret_key"] = f"file://{self.private}"
        else:
            settings |= {"token_public_key": f"file://{self.public}", "token_public_alg": self.alg}
        with open(path, "w") as file:
            file.write("[auth]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
        return path

    def bad_tokens(self, other):
        """What must open no door, by name. `other` are keys of the same kind that the server does not know."""
        claims = {"sub": "admin"}
        bad = {
            "none": None,
            "empty": "",
            "garbage": "not a token",
            "three parts": "a.b.c",
            "binary": b"\x00\xff\x80" * 10,
            "huge": "x" * 12_000,
            "expired": self.token("admin", "--expiry", "0s"),
            "alg none": unsigned(claims),
            "wrong key": other.token("admin"),
            "signature cut": self.token("admin")[:-4],
            "claims changed": spliced(self.token("nobody"), claims),
        }
        if self.kind == "secret":
            with open(self.private, "rb") as file:
                secret = file.read()
            bad["not yet valid"] = signed(secret, {**claims, "nbf": int(time.time()) + 3600})
            bad["no role"] = signed(secret, {"iss": "me"})
            bad["named another algorithm"] = signed(secret, claims, alg="RS256")
            bad["long expired"] = signed(secret, {**claims, "exp": 1})
        else:
            with open(self.public, "rb") as file:
                bad["signed with the public key"] = signed(file.read(), claims)
        return bad


def spliced(token, claims):
    """Other claims under the signature of a good token."""
    header, _, signature = token.split(".")
    return f"{header}.{encoded(claims)}.{signature}"
