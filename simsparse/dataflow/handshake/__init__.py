"""Cycle cores of blocks with ready/valid streams: twins of the modules of rtl/."""
