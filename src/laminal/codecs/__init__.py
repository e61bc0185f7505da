"""Anything that turns audio into codes and layers."""
