"""Faults of layer ``fs``: on real files, below Python, and in the streams of the engine's file interface."""
