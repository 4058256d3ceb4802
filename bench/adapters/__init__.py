"""The product behind the signatures of the yardstick in `bench/capacity.py`."""
