"""Grouped-query attention over left-aligned rows, for training, prefill and decode alike."""
