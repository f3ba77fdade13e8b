"""Decisions from a few minority images, and how what decides was chosen."""
