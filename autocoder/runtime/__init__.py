"""Runs a compiled graph: channels, units, stages, regions and the supervision around them."""
