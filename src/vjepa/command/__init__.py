"""The command line: which commands there are, how their arguments are read, what mistakes are told.

recipes  where the recipes are: inside the package, or in the repository
"""
