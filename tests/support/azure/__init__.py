"""An Azure Machine Learning workspace on the loopback interface, and clients of it."""
