"""Other people's formats and benchmarks, and the speed of our own code."""
