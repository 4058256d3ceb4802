"""A believable fleet that Headroom makes itself, for the first look and for tests. Described in docs/demo.md."""

from capacity.demo.inventory import DemoClash
from capacity.demo.load import demo_live, demo_load
from capacity.demo.remove import demo_remove

__all__ = ["DemoClash", "demo_live", "demo_load", "demo_remove"]
