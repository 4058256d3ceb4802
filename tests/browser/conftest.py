"""Browser tests only: Playwright keeps a loop in the thread of the test."""

import os

os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
