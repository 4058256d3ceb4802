"""What a source may be told: address, selector, credentials, certificate. The page and the API ask here alike.

Each function gives back the value as it is kept, or raises ValueError with a sentence that holds a valid example.
"""

import re
import ssl
from urllib.parse import urlsplit, urlunsplit

from monitoring.models import Auth

STEPS = {15: "15 s", 30: "30 s", 60: "1 min", 120: "2 min", 300: "5 min"}
LONGEST_IMPORT_DAYS = 400
# Pasted from the browser's address bar or from a Grafana data source.
PAGE_ENDINGS = ("/classic/graph", "/graph", "/api/v1/query", "/query", "/targets", "/api/v1")  # the longer before its own end
MATCHER = r'[a-zA-Z_][a-zA-Z0-9_]*\s*(?:=~|!~|!=|=)\s*"(?:[^"\\\n]|\\.)*"'
SELECTOR = rf"\s*{MATCHER}\s*(?:,\s*{MATCHER}\s*)*,?\s*"
HEADER_NAME = r"[A-Za-z0-9][A-Za-z0-9-]*"
# How a source is signed in to -> what that needs, and how to ask for it.
NEEDS = {
    Auth.BASIC: {"secret": "Enter the password.", "username": "Enter the user name."},
    Auth.BEARER: {"secret": "Enter the token, without the word Bearer."},
    Auth.HEADER: {"secret": "Enter the value of the header.", "header_name": "Enter the name of the header, e.g. X-Scope-OrgID."},
}


def url_clean(url: str) -> str:
    """The base address. A page of the user interface is cut off with its query; any other query would be lost, so it is refused."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https"):
        raise ValueError("Only http and https addresses can be asked, e.g. https://prometheus.example.com.")
    if parts.username or parts.password:
        raise ValueError("Leave user and password out of the address; there are fields for them.")
    path = parts.path.rstrip("/")
    page = next((ending for ending in PAGE_ENDINGS if path.endswith(ending)), "")
    if not page and (parts.query or parts.fragment):
        raise ValueError("Leave ? and # and what follows them out of the address, e.g. https://prometheus.example.com.")
    path = path.removesuffix(page)
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def selector_clean(text: str) -> str:
    """Label matchers without their braces."""
    selector = text.strip().removeprefix("{").removesuffix("}").strip()
    if selector and not re.fullmatch(SELECTOR, selector):
        raise ValueError('This is not a list of label matchers. A valid one: cluster="prod", env=~"live|test"')
    return selector


def certificate_clean(text: str) -> str:
    pem = text.strip()
    if pem:
        try:
            ssl.create_default_context().load_verify_locations(cadata=pem)
        except (ssl.SSLError, ValueError, TypeError) as error:  # TypeError: not ASCII
            raise ValueError("No certificate can be read here. It starts with -----BEGIN CERTIFICATE-----.") from error
    return pem


def header_clean(text: str) -> str:
    name = text.strip()
    if name and not re.fullmatch(HEADER_NAME, name):
        raise ValueError("A header name has letters, digits and dashes, e.g. X-Scope-OrgID.")
    return name


def credentials_missing(auth: str, *, username: str, header_name: str, secret: bool) -> dict[str, str]:
    """What the way to sign in still needs: field -> the sentence that asks for it. `secret`: one is given or kept."""
    given = {"username": bool(username), "header_name": bool(header_name), "secret": secret}
    return {name: sentence for name, sentence in NEEDS.get(Auth(auth), {}).items() if not given[name]}
