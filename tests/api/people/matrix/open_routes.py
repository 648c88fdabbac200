"""Routes that need no credential, of each door; every other route is in a table of cells."""

_PAGES = {
    ("GET", "/docs"),
    ("GET", "/docs/{name}"),
    ("GET", "/redoc"),
    ("GET", "/openapi.json"),
    ("GET", "/problems/{kind}"),
    ("GET", "/runbooks/{name}"),
    ("GET", "/version"),
}
_PROBES = {("GET", "/health"), ("GET", "/livez"), ("GET", "/readyz")}
OPEN_AT_CLIENT = {
    *_PAGES,
    ("GET", "/"),
    ("GET", "/page"),
    ("GET", "/page/{name}"),
    ("GET", "/console"),
    ("GET", "/console/"),
    ("GET", "/console/{place}"),
    ("GET", "/console/assets/{name}"),
}
#: What begins or ends a sign-in has its own tests: the cookie, or the code, is what it proves.
SIGN_IN = {
    ("POST", "/v1/signin"),
    ("GET", "/v1/signin"),
    ("DELETE", "/v1/signin"),
    ("GET", "/v1/signin/methods"),
    ("POST", "/v1/signin/code"),
    ("POST", "/v1/signin/exchange"),
    ("GET", "/v1/signin/oidc/{issuer}"),
    ("GET", "/v1/signin/oidc/{issuer}/callback"),
}
OPEN_AT_MANAGER = {*_PAGES, *_PROBES, ("GET", "/"), ("GET", "/status")}
INTERNAL = {*_PAGES, *_PROBES, ("GET", "/metrics")}
