"""What a method returns when it has no result."""

from dataclasses import dataclass


@dataclass(frozen=True)
class NoAnswer:
    """Why there is no result, in numbers a screen can show."""

    reason: str  # "no_data", "too_short", "too_many_gaps", "no_variation"
    have: int
    need: int

    def sentence(self) -> str:
        """The reason in words, e.g. `Not enough data: have 40, need 288.`"""
        return f"{REASONS[self.reason]}: have {self.have:,}, need {self.need:,}."


REASONS = {
    "no_data": "No data",
    "too_short": "Not enough data",
    "too_many_gaps": "Too many gaps",
    "no_variation": "The load hardly varied, in %",
}
