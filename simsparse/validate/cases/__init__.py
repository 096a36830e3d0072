"""Published results that simulations are held to, one file a case."""
