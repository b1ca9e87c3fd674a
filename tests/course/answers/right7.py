from statistics import mean, stdev

from scipy.stats import t


def paired_difference(first, second):
    differences = [b - a for a, b in zip(first, second, strict=True)]
    n = len(differences)
    half = t.ppf(0.975, n - 1) * stdev(differences) / n**0.5
    return mean(differences), mean(differences) - half, mean(differences) + half
