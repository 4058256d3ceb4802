"""Sizing as a Prometheus user has it: counts and requests in flight each 60 s, and a histogram of service times."""

from bench.adapters.sizes import size_counted

NAME = "headroom, 60 s counts"
size = size_counted(60.0)
