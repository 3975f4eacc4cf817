"""Rows → pixels: the only room that imports torch and diffusers."""
