"""Exit 0 when an address answers 200: the health check of a container that has no curl."""

import http.client
import sys
from urllib.parse import urlsplit


def main() -> int:
    parts = urlsplit(sys.argv[1])
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80, timeout=4)
    try:
        connection.request("GET", parts.path or "/", headers={"Host": "localhost"})
        return 0 if connection.getresponse().status == 200 else 1
    except (OSError, http.client.HTTPException):
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
