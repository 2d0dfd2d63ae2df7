"""A server of the Model Context Protocol over a store: what programs may ask, each answer of bounded size."""
