"""Sizing as a Prometheus user has it: counts and requests in flight each 15 s, and a histogram of service times."""

from bench.adapters.sizes import size_counted

NAME = "headroom, 15 s counts"
size = size_counted(15.0)
