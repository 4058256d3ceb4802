"""The body of a push: read within its declared length, unpacked as it comes, never more than the limits."""

import time
import zlib

from django.http import HttpRequest

MIB = 2**20
CHUNK_BYTES = 2**20
READ_SECONDS = 10.0


class BodyRefused(Exception):
    """Why a body is not taken, with the status that says so."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


def headers_check(request: HttpRequest) -> None:
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise BodyRefused(415, f"Content-Type must be application/json, got {kind[:60] or 'none'}")
    packing = encoding_of(request)
    if packing not in ("", "identity", "gzip"):
        raise BodyRefused(415, f"Content-Encoding must be gzip or left out, got {packing[:60]}")


def encoding_of(request: HttpRequest) -> str:
    return request.headers.get("Content-Encoding", "").strip().lower()


def length_check(request: HttpRequest, *, largest_mib: float) -> int:
    text = request.headers.get("Content-Length", "")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BodyRefused(411, "send Content-Length; bodies of unknown length are not read")
    if int(text) > largest_mib * MIB:
        raise BodyRefused(413, f"a body may have {largest_mib:g} MiB on the wire, this one has {int(text)} bytes; send smaller batches")
    return int(text)


def body_bytes(request: HttpRequest, *, length: int, decoded_mib: float, ratio: float) -> bytes:
    wire = wire_read(request, length=length)
    if len(wire) < length:
        raise BodyRefused(400, f"the body ended after {len(wire)} of {length} bytes")
    if encoding_of(request) != "gzip":
        return bytes(wire)
    return unpacked(wire, decoded_mib=decoded_mib, ratio=ratio)


def wire_read(request: HttpRequest, *, length: int) -> bytes:
    """What arrives in time: a sender that dawdles must not hold one of the few places."""
    ending = time.monotonic() + READ_SECONDS
    socket = request.META.get("gunicorn.socket")  # no other way to a time limit: gunicorn has none for bodies
    if socket is not None:
        socket.settimeout(READ_SECONDS)
    parts: list[bytes] = []
    try:
        while (left := length - sum(map(len, parts))) > 0:
            part = request.read(min(left, CHUNK_BYTES))
            if not part:
                break
            parts.append(part)
            if time.monotonic() > ending:
                raise TimeoutError
    except OSError as error:  # Django makes its own of what the socket raises
        if isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError):
            raise BodyRefused(408, f"the body did not arrive within {READ_SECONDS:g} s") from None
        raise BodyRefused(400, "the body ended early") from None
    finally:
        if socket is not None:
            socket.settimeout(None)
    return b"".join(parts)


def unpacked(wire: bytes, *, decoded_mib: float, ratio: float) -> bytes:
    """Of a gzip body never more than the limit is unpacked."""
    most = int(min(decoded_mib * MIB, ratio * len(wire)))
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = stream.decompress(wire, most + 1)
    except zlib.error as error:
        raise BodyRefused(400, f"the body is not gzip: {error}") from None
    if len(plain) > most:
        why = f"{decoded_mib:g} MiB" if most >= decoded_mib * MIB else f"{ratio:g} times its size on the wire"
        raise BodyRefused(413, f"the body unpacks to more than {why}")
    if not stream.eof:
        raise BodyRefused(400, "the gzip body is cut off")
    if stream.unused_data:
        raise BodyRefused(400, "something stands behind the end of the gzip body")
    return plain
