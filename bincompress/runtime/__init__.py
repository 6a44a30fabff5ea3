"""Packed files run by the C library, through ctypes."""
