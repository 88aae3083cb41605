"""Attention of a few new tokens over a paged key/value cache: decoding, and later turns."""
