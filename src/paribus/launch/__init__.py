"""Placing runs on workers, and conducting an experiment from file to report."""
