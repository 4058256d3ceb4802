"""Numbers and days in the words of a plan."""

from datetime import UTC, datetime

from capacity.engine.grid import DAY_SECONDS


def date_words(seconds: float, *, now: float | None = None) -> str:
    """`Tue 8 Dec`, in UTC; `Fri 20 Aug 2027` where that is another year than now's."""
    day = datetime.fromtimestamp(seconds, tz=UTC)
    year = f" {day.year}" if now is not None and datetime.fromtimestamp(now, tz=UTC).year != day.year else ""
    return f"{day:%a} {day.day} {day:%b}{year}"


def dated_words(seconds: float) -> str:
    """`8 Dec 2026`."""
    day = datetime.fromtimestamp(seconds, tz=UTC)
    return f"{day.day} {day:%b %Y}"


def days_between(seconds: float, *, now: float) -> int:
    """Whole days from now's day (UTC) to another: pages, messages and files all count by it, so that none says a day more than another."""
    return int(seconds // DAY_SECONDS - now // DAY_SECONDS)


def order_words(count: str, order_time: float, *, now: float) -> str:
    """`Order 2 replicas by Tue 24 Nov.`: days and no distances, as it is stored and read on later days."""
    day = date_words(order_time, now=now)
    if days_between(order_time, now=now) < 0:
        return f"Order {count} now: the day for it was {day}."
    return f"Order {count} by {day}."


def days_words(days: float) -> str:
    whole = round(days)
    return "1 day" if whole == 1 else f"{whole} days"


def rate_words(rate: float) -> str:
    """`35.7 req/s`, `4,950 req/s`."""
    return f"{number_words(rate)} req/s"


def number_words(value: float) -> str:
    """Three digits."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if size >= 0.001 or value == 0 else f"{value:.1e}"


def replicas_words(count: float, *, unit: str = "replicas") -> str:
    shown = f"{count:,.0f}" if float(count).is_integer() else f"{count:.1f}"
    return f"{shown} {unit.removesuffix('s') if shown == '1' else unit}"


def holds_word(count: float) -> str:
    """1 replica holds, 2 replicas hold."""
    return "holds" if count == 1 else "hold"


def money_words(amount: float, currency: str) -> str:
    return f"{amount:,.0f} {currency}"


def minutes_words(minutes: float) -> str:
    shown = f"{minutes:,.0f}" if minutes >= 9.5 or minutes == 0 else f"{minutes:.1f}"
    return f"{shown} SLO minute" if shown == "1" else f"{shown} SLO minutes"
