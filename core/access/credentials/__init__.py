"""Credentials: keys, tokens of issuers, sign-ins, and limits on failures. Knows no decision.

Modules are imported by name: they load libraries that most processes do not need.
"""

__all__ = ["failures", "issuer_http", "issuers", "jwks", "keys", "oidc", "signins"]
