"""Charts: a trend with its limits drawn, nothing to click.

The one rule: 1-pixel pens, no antialiasing, gaps as gaps; a chart shows a series, it never
computes one.
"""

from console.charts.limit_chart import LimitChart

__all__ = ["LimitChart"]
