from statistics import mean, stdev


def paired_difference(first, second):
    """Return (mean of second - first, lower end, upper end of its 95 % interval)."""
    n = len(first)
    middle = mean(second) - mean(first)
    half = 1.96 * (stdev(first) ** 2 / n + stdev(second) ** 2 / n) ** 0.5  # for two large, independent groups
    return middle, middle - half, middle + half
