"""The embedded demo models: the world they know, how they are trained, and who judges them."""
