"""Faster prediction of many photos on a CPU, with the labels of the exact network."""
