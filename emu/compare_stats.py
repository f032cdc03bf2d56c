"""The statistics of a comparison. scipy does them; where it is missing the error names the extra.

Medians are compared, since times of this kind have long tails. Their intervals are percentile bootstrap intervals: they
assume no distribution, and are defined for constant samples. A difference is called shown only if the interval of the
change leaves out 0 AND a Mann-Whitney test gives p <= 0.01; five samples on each side are the fewest that can reach
that (p = 0.008), so from one sample nothing is ever shown.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from emu.errors import NotSupportedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

RESAMPLES = 2000
SEED = 0x5EED
FEWEST = 5
ALPHA = 0.01
# Above it the median's interval is that of its order statistics: the same answer, without 2000 copies of the samples.
MOST_RESAMPLED = 2000
MOST_TESTED = 100_000
BEYOND = 1e12
TINY = 1e-9  # of any unit: as good as nothing
P99_FROM = 100  # samples, below which the 99th percentile is the maximum


class Interval(NamedTuple):
    """A figure and the interval around it."""

    value: float
    low: float
    high: float


def need_scipy(command: str) -> None:
    """Refuse, naming the extra, before anything is started."""
    if find_spec("scipy") is None:
        raise NotSupportedError(
            f"{command} needs scipy, which is not installed: pip install 'percpu-emu[stats]' (or scipy)"
        )


def interval(values: Values, confidence: float, share: float = 0.5) -> Interval:
    """The quantile SHARE (default: the median) with its interval."""
    import numpy as np

    middle = float(np.quantile(values, share))
    if len(values) < 2 or values.min() == values.max():
        return Interval(middle, middle, middle)
    if len(values) > MOST_RESAMPLED:
        return Interval(middle, *_order_statistics(values, confidence, share))
    low, high = _bootstrap((values,), lambda a, axis=-1: np.quantile(a, share, axis=axis), confidence)
    return Interval(middle, low, high)


def change(a: Values, b: Values, confidence: float, share: float = 0.5) -> Interval | None:
    """How much b's quantile differs from a's, as a part of a's; None where a's is 0, or as good as."""
    import numpy as np

    base, now = float(np.quantile(a, share)), float(np.quantile(b, share))
    if abs(base) < TINY:
        return None
    value = now / base - 1
    if min(len(a), len(b)) < 2:
        return Interval(value, -math.inf, math.inf)
    if (a == a[0]).all() and (b == b[0]).all():
        return Interval(value, value, value)
    if max(len(a), len(b)) > MOST_RESAMPLED:
        # Conservative: the intervals' far ends.
        one, other = interval(a, confidence, share), interval(b, confidence, share)
        if one.low <= TINY:
            return Interval(value, -math.inf, math.inf)
        return Interval(value, other.low / one.high - 1, other.high / one.low - 1)

    def ratio(x: Any, y: Any, axis: int = -1) -> Any:
        below = np.quantile(x, share, axis=axis)
        small = np.abs(below) < TINY
        found = np.quantile(y, share, axis=axis) / np.where(small, 1.0, below) - 1
        # A resample of zeros alone: beyond anything that is measured.
        return np.where(small, BEYOND, np.minimum(found, BEYOND))

    low, high = _bootstrap((a, b), ratio, confidence)
    return Interval(value, low, high)


def probability(a: Values, b: Values) -> float:
    """The Mann-Whitney p that such samples come of one distribution; 1 where the test says nothing."""
    from scipy.stats import mannwhitneyu

    if min(len(a), len(b)) < 2 or ((a == a[0]).all() and (b == a[0]).all()):
        return 1.0
    # Of so many, every n-th tells the same.
    a, b = (values[:: -(-len(values) // MOST_TESTED)] for values in (a, b))
    found = float(mannwhitneyu(a, b, alternative="two-sided").pvalue)
    return found if math.isfinite(found) else 1.0


def shown(a: Values, b: Values, found: Interval | None) -> bool:
    """Whether a difference is shown."""
    if min(len(a), len(b)) < FEWEST:
        return False
    if found is not None and found.low <= 0 <= found.high:
        return False
    return probability(a, b) <= ALPHA


def _bootstrap(data: tuple[Values, ...], statistic: Any, confidence: float) -> tuple[float, float]:
    import numpy as np
    from scipy.stats import bootstrap

    # The same resamples each time: the same samples give the same interval.
    found = bootstrap(
        data,
        statistic,
        n_resamples=RESAMPLES,
        vectorized=True,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return float(found.low), float(found.high)


def _order_statistics(values: Values, confidence: float, share: float) -> tuple[float, float]:
    import numpy as np
    from scipy.stats import binom

    n = len(values)
    tail = (1 - confidence) / 2
    low, high = int(binom.ppf(tail, n, share)), min(n - 1, int(binom.ppf(1 - tail, n, share)))
    ordered = np.partition(values, (low, high))
    return float(ordered[low]), float(ordered[high])
