"""The call that webhook, Slack and Alertmanager share: guarded, bounded in time, its outcome sorted into what a retry can help."""

from collections.abc import Mapping

from monitoring.alerts.channels.base import ChannelError, Setup
from monitoring.http import AddressBlocked, HttpError, HttpUrl, Reply, http_get

ANSWER_MOST = 64 * 1024
SLOW_DOWN = (408, 425, 429)


def call(setup: Setup, url: str, body: bytes, *, headers: Mapping[str, str]) -> Reply:
    """The answer where its status is below 300, or 410; ChannelError else."""
    try:
        reply = http_get(
            url, method="POST", body=body, allowed=setup.allowed, headers=headers, timeout=setup.timeout, max_bytes=ANSWER_MOST
        )
    except AddressBlocked as error:
        block = f"{bracketed(error.address)}:{error.port}" if error.allowable else ""
        raise ChannelError(str(error), switch_off=True, block=block) from None
    except HttpUrl as error:
        raise ChannelError(str(error), switch_off=True) from None
    except HttpError as error:
        raise ChannelError(str(error)) from None
    if reply.status < 300 or reply.status == 410:
        return reply
    said = f"The receiver answered {reply.status}: {reply.body[:200].decode(errors='replace')}"
    if reply.status in SLOW_DOWN or reply.status >= 500:
        raise ChannelError(said, retry_after=retry_after_of(reply))
    raise ChannelError(said, permanent=True)


def bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def retry_after_of(reply: Reply) -> float:
    """Seconds the other side asks us to wait, an hour at most; 0 where it does not say."""
    text = reply.headers.get("Retry-After", "")
    return min(float(text), 3600.0) if text.isdigit() else 0.0
