"""`make shots`: every page wide, on a phone and dark, two as printed, into shots/. Options: names of pictures, --days, --form."""

import argparse
import os
import sys

import pytest

FORMS = ("wide", "phone", "dark", "print")


def main() -> int:
    words = argparse.ArgumentParser(prog="make shots", description=__doc__)
    words.add_argument("only", nargs="*", help="names of pictures, e.g. fleet deployment-chat-70b")
    words.add_argument("--days", type=int, default=28, help="days of demo history (default 28)")
    words.add_argument("--form", choices=FORMS, action="append", help="default: all four")
    asked = words.parse_args()
    os.environ["HEADROOM_SHOTS_ONLY"] = " ".join(asked.only)
    os.environ["HEADROOM_SHOTS_DAYS"] = str(asked.days)
    os.environ["HEADROOM_SHOTS_FORMS"] = " ".join(asked.form or FORMS)
    return pytest.main(["-s", "tests/browser/pictures.py"])


if __name__ == "__main__":
    sys.exit(main())
