"""``python -m probe``."""

from .run import main

main()
